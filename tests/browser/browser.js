// A browser that tells of whatever a page must not do.

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const base = process.env.SERVICE_URL;
let browser;

/** Starts Chromium, as Debian has it or as CHROMIUM names it. */
async function start() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

async function stop() {
  await browser.close();
}

/**
 * Opens `path`, and does `work` on the page. Fails on an error in the console, on a violation of the
 * page's policy, and on a request to anybody but the service.
 */
async function visit(path, options, work) {
  const context = await browser.newContext({ locale: "en-US", ...options });
  try {
    const trouble = [];
    await context.exposeFunction("tellViolation", (text) => trouble.push(text));
    await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) =>
      tellViolation(`${event.violatedDirective} ${event.blockedURI}`)));
    const page = await context.newPage();
    page.on("pageerror", (error) => trouble.push(error.message));
    page.on("console", (message) => {
      // Which is all that the browser itself says of an answer that is no success.
      const isStatus = message.text().startsWith("Failed to load resource:");
      if (message.type() !== "log" && !isStatus) trouble.push(message.text());
    });
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== new URL(base).origin) trouble.push(request.url());
    });
    await options.before?.(page);
    const response = await page.goto(base + path);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    await work(page);
    assert.deepEqual(trouble, []);
  } finally {
    await context.close();
  }
}

module.exports = { base, start, stop, visit };
