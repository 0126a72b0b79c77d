// A browser that reports forbidden actions of a page.

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const base = process.env.SERVICE_URL;
let browser;

/** Starts the Chromium that CHROMIUM names, by default Debian's. */
async function start() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

async function stop() {
  await browser.close();
}

/**
 * Opens `path` and runs `work` on the page. Fails on an error in the console, a violation of the page's
 * policy, or a request to another host.
 */
async function visit(path, options, work) {
  const context = await browser.newContext({ locale: "en-US", ...options });
  try {
    const problems = [];
    await context.exposeFunction("reportViolation", (text) => problems.push(text));
    await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) =>
      reportViolation(`${event.violatedDirective} ${event.blockedURI}`)));
    const page = await context.newPage();
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      // The browser's own message for an unsuccessful response.
      const isStatus = message.text().startsWith("Failed to load resource:");
      if (message.type() !== "log" && !isStatus) problems.push(message.text());
    });
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== new URL(base).origin) problems.push(request.url());
    });
    await options.before?.(page);
    const response = await page.goto(base + path);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    await work(page);
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
  }
}

module.exports = { base, start, stop, visit };
