-- Requests the orders of random users of random tenants: wrk … -- TENANTS USERS ZIPF
-- ZIPF is the exponent of the tenants' frequencies. With 0 all tenants are equally frequent.

local tenants, users, cumulative

function init(arguments)
   tenants, users = tonumber(arguments[1]), tonumber(arguments[2])
   local exponent = tonumber(arguments[3])
   math.randomseed(os.time())
   local sum = 0
   cumulative = {}
   for tenant = 1, tenants do
      sum = sum + 1 / tenant ^ exponent
      cumulative[tenant] = sum
   end
end

local function random_tenant()
   local drawn = math.random() * cumulative[tenants]
   local low, high = 1, tenants
   while low < high do
      local middle = math.floor((low + high) / 2)
      if cumulative[middle] < drawn then low = middle + 1 else high = middle end
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
