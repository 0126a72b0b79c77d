// The page in a real browser, with the demo data and `data.sql`.

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");
const { base, start, stop, visit } = require("./browser.js");

before(start);
after(stop);

const text = (page, selector) => page.locator(selector).innerText();
const cells = async (page, row) =>
  (await page.locator("#lines tr").nth(row).locator("th, td").allTextContents()).map((cell) => cell.replaceAll("\u202f", " "));
const resultShown = (page) => page.locator("#result").waitFor();

test("orders are shown with tenant, prices and total", async () => {
  await visit("/", {}, async (page) => {
    assert.match(await text(page, "#hint"), /Enter a user id/);
    await page.fill("#user", "1");
    await page.click("button[type=submit]");
    await resultShown(page);
    assert.equal(await text(page, "#name"), "rich_dude");
    assert.equal(await text(page, "#tenant"), "client1");
    assert.equal(await text(page, "#total"), "60,000.00");
    assert.deepEqual(await cells(page, 0), ["1", "unknown", "Tesla", "5,000.00", "10", "50,000.00"]);
    assert.deepEqual(await cells(page, 1), ["2", "unknown", "Huawei", "2,000.00", "5", "10,000.00"]);
    assert.equal(await text(page, "#count"), "2 orders in total");
    assert.equal(await page.title(), "Orders of rich_dude");
    assert.equal(await page.locator("#more").isVisible(), false);
  });
});

test("amounts follow the reader's locale and keep every digit", async () => {
  for (const [locale, price, total] of [
    ["en-US", "12,345,678,901,234,567,890.1234", "24,691,357,802,469,135,780.2468"],
    ["de-DE", "12.345.678.901.234.567.890,1234", "24.691.357.802.469.135.780,2468"],
    ["hi-IN", "1,23,45,67,89,01,23,45,67,890.1234", "2,46,91,35,78,02,46,91,35,780.2468"],
  ]) {
    await visit("/?user=large", { locale }, async (page) => {
      await resultShown(page);
      const [, , , unitPrice, , lineTotal] = await cells(page, 0);
      assert.deepEqual([unitPrice, lineTotal], [price, total]);
    });
  }
});

test("large numbers keep every digit, also in engines that round", async () => {
  await visit("/", {}, async (page) => {
    const [quantity, rounded] = await page.evaluate(async () => {
      const { parseJson } = await import("/assets/numbers.js");
      Intl.NumberFormat = class { format(value) { return String(Number(value)); } };
      const other = await import("/assets/numbers.js?reload");
      return [parseJson('{"quantity":9223372036854775807}').quantity, other.formatDecimal("12345678901234567890.1234")];
    });
    assert.equal(quantity, "9223372036854775807");
    assert.equal(rounded, "12345678901234567890.1234");
  });
});

test("markup in a name or a description stays text", async () => {
  await visit("/?user=script", {}, async (page) => {
    await resultShown(page);
    assert.match(await text(page, "#name"), /^<img src=x onerror=/);
    assert.equal((await cells(page, 0))[2], '<script>document.title = "broken in"</script>');
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.match(await page.title(), /^Orders of <img/);
  });
});

test("more orders can be loaded with the keyboard", async () => {
  await visit("/", {}, async (page) => {
    await page.waitForFunction(() => document.activeElement.id === "user"); // without a click
    await page.keyboard.type("many");
    await page.keyboard.press("Enter");
    for (const [count, label] of [[100, "100 orders shown, more available"], [200, "200 orders shown, more available"], [250, "250 orders in total"]]) {
      await page.locator("#count", { hasText: label }).waitFor();
      assert.equal(await page.locator("#lines tr").count(), count);
      assert.equal(await text(page, "#total"), "62,750,000.00");
      if (count > 100) {
        const focused = await page.evaluate(() => [...document.querySelectorAll("#lines tr")].indexOf(document.activeElement));
        assert.equal(focused, count === 200 ? 100 : 200);
      }
      if (count === 250) break;
      while (!(await page.evaluate(() => document.activeElement.id === "more"))) await page.keyboard.press("Tab");
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
      await page.keyboard.press("Enter");
    }
    assert.equal(await page.locator("#more").isVisible(), false);
  });
});

test("empty lists and unknown values have texts", async () => {
  await visit("/?user=empty", {}, async (page) => {
    await resultShown(page);
    assert.match(await text(page, "#empty"), /No orders yet/);
    assert.equal(await text(page, "#total"), "0.00");
    assert.equal(await page.locator("#table").isVisible(), false);
  });
  await visit("/?user=gaps", {}, async (page) => {
    await resultShown(page);
    assert.equal(await text(page, "#name"), "User gaps");
    assert.deepEqual(await cells(page, 0), ["gaps", "unknown", "unknown", "unknown", "unknown", "unknown"]);
  });
});

test("the address contains the user, and the back button returns to it", async () => {
  await visit("/?user=a%2Fb+%3F%26%23%25", {}, async (page) => {
    await resultShown(page);
    assert.equal(await text(page, "#name"), "Odd Id");
    await page.fill("#user", "2");
    await page.keyboard.press("Enter");
    await page.locator("#name", { hasText: "poor_dude" }).waitFor();
    assert.equal(new URL(page.url()).search, "?user=2");
    await page.goBack();
    await page.locator("#name", { hasText: "Odd Id" }).waitFor();
    assert.equal(await page.inputValue("#user"), "a/b ?&#%");
    await page.goForward();
    await page.locator("#name", { hasText: "poor_dude" }).waitFor();
  });
});

test("a late response is not shown under another user's name", async () => {
  await visit("/", {}, async (page) => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.route("**/users/1/orders", async (route) => {
      await held;
      await route.continue().catch(() => {}); // it was cancelled
    });
    await page.fill("#user", "1");
    await page.keyboard.press("Enter");
    await page.locator("#loading").waitFor();
    assert.match(await text(page, "#loading"), /Loading the orders of 1/);
    await page.fill("#user", "2");
    await page.keyboard.press("Enter");
    await page.locator("#name", { hasText: "poor_dude" }).waitFor();
    release();
    await page.unrouteAll({ behavior: "wait" });
    assert.equal(await text(page, "#name"), "poor_dude");
    assert.equal(await text(page, "#total"), "10,500.00");
  });
});

test("refusals have specific texts", async () => {
  for (const [user, title] of [["nobody", "User not found"], ["..", "User not found"], ["homeless", "Organization unavailable"], ["no-number", "Invalid data"]]) {
    await visit(`/?user=${user}`, {}, async (page) => {
      await page.locator("#failure").waitFor();
      assert.equal(await text(page, "#failure-title"), title);
      assert.match(await text(page, "#failure-id"), /^[0-9a-f-]{36}$/);
      assert.equal(await page.locator("#result").isVisible(), false);
    });
  }
});

test("every problem of the API document has a specific text and a remedy", async () => {
  const api = await (await fetch(`${base}/openapi.json`)).json();
  const responses = Object.entries(api.paths["/users/{id}/orders"].get.responses).filter(([status]) => status >= 400);
  const titles = new Map();
  for (const [status, response] of responses) {
    for (const [name, { value }] of Object.entries(response.content["application/problem+json"].examples)) {
      if (["method-not-allowed", "internal"].includes(name)) continue; // the page offers no remedy
      const fulfilled = { status: Number(status), contentType: "application/problem+json", body: JSON.stringify(value) };
      const before = (page) => page.route("**/users/1/orders", (route) => route.fulfill(fulfilled), { times: 1 });
      await visit("/?user=1", { before }, async (page) => {
        await page.locator("#failure").waitFor();
        const title = await text(page, "#failure-title");
        assert.notEqual(title, "Something went wrong", name);
        titles.set(name, title);
        if (["401", "403"].includes(status)) {
          assert.ok(await page.locator("#token").evaluate((token) => token === document.activeElement));
          await page.keyboard.type("a.b.c");
          await page.keyboard.press("Enter");
        } else if (status === "429" || status >= "503") {
          await page.click("#again");
        } else {
          return assert.equal(await page.locator("#again").isVisible(), false, name);
        }
        await resultShown(page);
      });
    }
  }
  titles.delete("not-found"); // shown as a user that does not exist
  assert.ok(titles.size > 1);
  assert.equal(new Set(titles.values()).size, titles.size);
});

test("a token is sent with each request and stored in this tab only", async () => {
  const sent = [];
  const before = (page) => page.route("**/users/*/orders", (route) => {
    const { authorization } = route.request().headers();
    sent.push(authorization);
    const problem = { status: 401, contentType: "application/problem+json", body: '{"type":"/problems/unauthorized"}' };
    return authorization ? route.continue() : route.fulfill(problem);
  });
  await visit("/?user=1", { before }, async (page) => {
    await page.fill("#token", "a.b.c");
    await page.keyboard.press("Enter");
    await resultShown(page);
    await page.reload();
    await resultShown(page);
    assert.deepEqual(sent, [undefined, "Bearer a.b.c", "Bearer a.b.c"]);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.doesNotMatch(page.url(), /a\.b\.c/);
  });
});

test("an unreachable service is reported and can be retried", async () => {
  const before = (page) => page.route("**/users/1/orders", (route) => route.abort(), { times: 1 });
  await visit("/?user=1", { before }, async (page) => {
    await page.locator("#failure").waitFor();
    assert.equal(await text(page, "#failure-title"), "Service unreachable");
    await page.click("#again");
    await resultShown(page);
    assert.equal(await page.evaluate(() => document.activeElement.id), "name");
  });
});

test("a failed page keeps the loaded orders and can be retried", async () => {
  await visit("/?user=many", {}, async (page) => {
    await resultShown(page);
    await page.route("**/users/many/orders?cursor=*", (route) => route.abort(), { times: 1 });
    await page.click("#more");
    await page.locator("#failure").waitFor();
    assert.equal(await page.locator("#lines tr").count(), 100);
    await page.click("#again");
    await page.locator("#count", { hasText: "200 orders shown" }).waitFor();
    assert.equal(await page.locator("#failure").isVisible(), false);
  });
});
