// Accessibility of both pages: small screens, dark mode, screen readers.

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");
const axe = require("axe-core");
const { start, stop, visit } = require("./browser.js");

before(start);
after(stop);

const pages = [
  ["/", "#hint"],
  ["/?user=1", "#result"],
  ["/?user=large", "#result"],
  ["/?user=many", "#result"],
  ["/?user=empty", "#result"],
  ["/?user=nobody", "#failure"],
  ["/?user=homeless", "#failure"],
  ["/docs", "#schemas"],
];

for (const colorScheme of ["light", "dark"]) {
  for (const [path, selector] of pages) {
    test(`${path} in ${colorScheme} passes axe and fits a phone`, async () => {
      for (const width of [375, 1280]) {
        const options = { colorScheme, bypassCSP: true, viewport: { width, height: 800 } };
        await visit(path, options, async (page) => {
          await page.locator(selector).waitFor();
          // Include folded parts and the token field.
          await page.evaluate(() => {
            for (const details of document.querySelectorAll("details")) details.open = true;
            document.querySelector("#token-field")?.removeAttribute("hidden");
          });
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${overflow} px too wide at ${width} px`);
          await page.evaluate(axe.source);
          const { violations } = await page.evaluate(() => axe.run());
          assert.deepEqual(violations.map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target.join(" "))]), []);
        });
      }
    });
  }
}

test("changes are announced to screen readers", async () => {
  await visit("/?user=1", {}, async (page) => {
    await page.locator("#result").waitFor();
    const status = page.locator("[role=status]");
    assert.equal(await status.textContent(), "rich_dude: 2 orders in total. Total due 60,000.00");
    await page.fill("#user", "nobody");
    await page.keyboard.press("Enter");
    await page.locator("#failure").waitFor();
    assert.match(await status.textContent(), /^User not found\. There is no user with this id/);
  });
});

test("reduced motion disables the spinner's animation", async () => {
  const before = (page) => page.route("**/users/1/orders", () => {}); // no response
  await visit("/?user=1", { reducedMotion: "reduce", before }, async (page) => {
    const animation = await page.locator(".spinner").evaluate((spinner) => getComputedStyle(spinner).animationName);
    assert.equal(animation, "none");
  });
});

test("the API document is shown and can be tried", async () => {
  await visit("/docs", {}, async (page) => {
    const orders = page.locator("article", { has: page.locator("#listOrders") });
    await orders.locator("summary", { hasText: "503" }).click();
    assert.match(await orders.innerText(), /\/problems\/tenant-unavailable/);
    assert.match(await orders.innerText(), /1 to 1000, default 100/);
    await orders.getByLabel("limit").fill("1");
    await orders.getByRole("button").click();
    await orders.locator("output pre").waitFor();
    assert.match(await orders.locator("output").innerText(), /GET \/users\/1\/orders\?limit=1\n\n200 OK/);
  });
});

test("without JavaScript, each page links to the API", async () => {
  for (const path of ["/", "/docs"]) {
    await visit(path, { javaScriptEnabled: false }, async (page) => {
      assert.match(await page.locator("noscript").innerText(), /needs JavaScript/);
    });
  }
});
