// The page: one user's orders at a time. Whatever comes from the service becomes text, never markup.

import { orders } from "./answer.js";
import { decimal, time } from "./numbers.js";

const $ = (id) => document.getElementById(id);

/** What is shown: the user asked for, their tenant, how many lines, and where the next page starts. */
const shown = { user: null, tenant: null, count: 0, cursor: null };

/** Calls off the request under way: what it brings is not wanted any more. */
let underWay = new AbortController();

/** Shows one of the page's states and hides the others. */
function show(state) {
  for (const id of ["hint", "loading", "failure", "result"]) $(id).hidden = id !== state;
}

/** Tells those who listen what changed. */
function announce(text) {
  $("status").textContent = text;
}

/** Shows the orders of `user` from the first on, or the page as it was at first where there is none. */
async function open(user) {
  underWay.abort();
  shown.user = user;
  document.title = user === null ? "Orders" : `Orders of ${user}`;
  $("user").value = user ?? "";
  if (user === null) {
    announce("");
    return show("hint");
  }
  $("loading-user").textContent = user;
  show("loading");
  announce(`Looking up the orders of ${user}`);
  await load(null);
}

/** Loads the page behind `cursor`, and shows it. */
async function load(cursor) {
  underWay.abort();
  underWay = new AbortController();
  const { signal } = underWay;
  const { user } = shown;
  $("more").disabled = true;
  $("more").textContent = "Loading…";
  try {
    const page = await orders(user, cursor, $("token").value, signal);
    if (signal.aborted) return;
    // Whoever moved to another tenant meanwhile has other orders there: these do not go together.
    if (cursor !== null && page.user.organization_id !== shown.tenant) return open(user);
    render(page, cursor === null);
  } catch (failure) {
    if (!signal.aborted) fail(failure, cursor);
  } finally {
    if (!signal.aborted) {
      $("more").disabled = false;
      $("more").textContent = "Show more";
    }
  }
}

function render(page, isNew) {
  const { user } = page;
  const name = user.name ?? `User ${user.id}`;
  const lines = page.orders.map(line);
  if (isNew) $("lines").replaceChildren();
  $("lines").append(...lines);
  shown.count = $("lines").childElementCount;
  shown.tenant = user.organization_id;
  shown.cursor = page.next_cursor;
  document.title = `Orders of ${name}`;
  $("name").textContent = name;
  $("id").textContent = user.id;
  $("tenant").textContent = user.organization_id;
  $("total").replaceChildren(...breakable(decimal(page.total_due)));
  $("empty").hidden = shown.count > 0;
  $("table").hidden = shown.count === 0;
  $("more").hidden = shown.cursor === null;
  $("count").hidden = shown.count === 0;
  const count = `${decimal(String(shown.count))} ${shown.count === 1 ? "order" : "orders"}`;
  $("count").textContent = shown.cursor === null ? `${count} in all` : `${count} shown, there are more`;
  show("result");
  announce(`${name}: ${shown.count === 0 ? "no orders" : $("count").textContent}. Total due ${$("total").textContent}`);
  if (!isNew) focus(lines[0]);
  else keepFocus($("name"));
}

/** The row of one order. */
function line(order) {
  const row = $("line").content.firstElementChild.cloneNode(true);
  const [id, date, item, price, quantity, total] = row.children;
  id.textContent = order.id;
  fill(date, order.created_at, time);
  fill(item, order.item.description, (text) => text);
  for (const [cell, value] of [[price, order.unit_price], [quantity, order.quantity], [total, order.line_total]]) {
    fill(cell, value, decimal);
    if (value !== null) cell.replaceChildren(...breakable(cell.textContent));
  }
  return row;
}

/** A number that is broken into lines between its groups of digits, where it has to be. */
function breakable(number) {
  return number.split(/(?<=\D)/).flatMap((group) => [group, document.createElement("wbr")]);
}

/** Fills a cell, or says that what belongs there is not known. */
function fill(cell, value, format) {
  cell.textContent = value === null ? "unknown" : format(value);
  cell.classList.toggle("unknown", value === null);
}

function fail(failure, cursor) {
  if (failure.remedy === "token") $("token-field").hidden = false;
  $("failure-title").textContent = failure.message;
  $("failure-detail").textContent = failure.detail ?? "The page itself has failed. Load it anew.";
  $("failure-request").hidden = !failure.requestId;
  $("failure-id").textContent = failure.requestId ?? "";
  $("again").hidden = failure.remedy !== "again";
  $("again").onclick = () => (cursor === null ? open(shown.user) : load(cursor));
  show("failure");
  $("result").hidden = cursor === null; // what is there already stays
  announce(`${failure.message}. ${$("failure-detail").textContent}`);
  if (failure.remedy === "token") $("token").focus();
  else keepFocus($("failure-title"));
}

/** Gives the focus to `element` where what had it has gone, such as a button that was pressed. */
function keepFocus(element) {
  if (document.activeElement === document.body) focus(element);
}

/** Moves the focus, also to what is not reached by tab. */
function focus(element) {
  element.tabIndex = -1;
  element.focus();
}

/** The user that the address names. */
function addressed() {
  return new URLSearchParams(location.search).get("user") || null;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = $("user").value;
  sessionStorage.setItem("token", $("token").value);
  if (user !== addressed()) history.pushState(null, "", `/?${new URLSearchParams({ user })}`);
  open(user);
});
$("more").addEventListener("click", () => load(shown.cursor));
addEventListener("popstate", () => open(addressed()));

$("token").value = sessionStorage.getItem("token") ?? "";
$("token-field").hidden = $("token").value === "";
open(addressed());
