-- Asks for random users of random tenants: wrk … -- TENANTS USERS ZIPF
-- With ZIPF 0 all tenants are as likely; with 1 the second is half as likely as the first, and so on.

local tenants, users, cumulated

function init(arguments)
   tenants, users = tonumber(arguments[1]), tonumber(arguments[2])
   local exponent = tonumber(arguments[3])
   math.randomseed(os.time())
   local sum = 0
   cumulated = {}
   for tenant = 1, tenants do
      sum = sum + 1 / tenant ^ exponent
      cumulated[tenant] = sum
   end
end

local function random_tenant()
   local drawn = math.random() * cumulated[tenants]
   local low, high = 1, tenants
   while low < high do
      local middle = math.floor((low + high) / 2)
      if cumulated[middle] < drawn then low = middle + 1 else high = middle end
   end
   return low
end

function request()
   return wrk.format("GET", "/users/t" .. random_tenant() .. "-u" .. math.random(users) .. "/orders")
end

function done(summary, latency)
   local failed = summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.status + summary.errors.timeout
   io.write(string.format("result %d %d %d %d %d\n", summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(99), failed))
end
