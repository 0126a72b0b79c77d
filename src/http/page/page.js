// The page: the orders of one user. Data of the service becomes text, never markup.

import { fetchOrders } from "./api.js";
import { formatDecimal, formatTime } from "./numbers.js";

const $ = (id) => document.getElementById(id);

/** The displayed orders: user, tenant, number of lines, and cursor of the next page. */
const state = { user: null, tenant: null, count: 0, cursor: null };

/** Cancels the current request. */
let currentRequest = new AbortController();

/** Shows one section and hides the others. */
function show(section) {
  for (const id of ["hint", "loading", "failure", "result"]) $(id).hidden = id !== section;
}

/** Announces a change to screen readers. */
function announce(text) {
  $("status").textContent = text;
}

/** Shows the first page of the user's orders, or the hint if `user` is null. */
async function open(user) {
  currentRequest.abort();
  state.user = user;
  document.title = user === null ? "Orders" : `Orders of ${user}`;
  $("user").value = user ?? "";
  if (user === null) {
    announce("");
    return show("hint");
  }
  $("loading-user").textContent = user;
  show("loading");
  announce(`Loading the orders of ${user}`);
  await load(null);
}

/** Loads and shows the page after `cursor`. */
async function load(cursor) {
  currentRequest.abort();
  currentRequest = new AbortController();
  const { signal } = currentRequest;
  const { user } = state;
  $("more").disabled = true;
  $("more").textContent = "Loading…";
  try {
    const page = await fetchOrders(user, cursor, $("token").value, signal);
    if (signal.aborted) return;
    // The user was moved to another tenant: its orders must not be mixed with those on display.
    if (cursor !== null && page.user.organization_id !== state.tenant) return open(user);
    render(page, cursor === null);
  } catch (failure) {
    if (!signal.aborted) showFailure(failure, cursor);
  } finally {
    if (!signal.aborted) {
      $("more").disabled = false;
      $("more").textContent = "Show more";
    }
  }
}

function render(page, isFirstPage) {
  const { user } = page;
  const name = user.name ?? `User ${user.id}`;
  const lines = page.orders.map(createRow);
  if (isFirstPage) $("lines").replaceChildren();
  $("lines").append(...lines);
  state.count = $("lines").childElementCount;
  state.tenant = user.organization_id;
  state.cursor = page.next_cursor;
  document.title = `Orders of ${name}`;
  $("name").textContent = name;
  $("id").textContent = user.id;
  $("tenant").textContent = user.organization_id;
  $("total").replaceChildren(...withLineBreaks(formatDecimal(page.total_due)));
  $("empty").hidden = state.count > 0;
  $("table").hidden = state.count === 0;
  $("more").hidden = state.cursor === null;
  $("count").hidden = state.count === 0;
  const count = `${formatDecimal(String(state.count))} ${state.count === 1 ? "order" : "orders"}`;
  $("count").textContent = state.cursor === null ? `${count} in total` : `${count} shown, more available`;
  show("result");
  announce(`${name}: ${state.count === 0 ? "no orders" : $("count").textContent}. Total due ${$("total").textContent}`);
  if (!isFirstPage) focus(lines[0]);
  else keepFocus($("name"));
}

/** Creates the table row of an order. */
function createRow(order) {
  const row = $("line").content.firstElementChild.cloneNode(true);
  const [id, date, item, price, quantity, total] = row.children;
  id.textContent = order.id;
  fill(date, order.created_at, formatTime);
  fill(item, order.item.description, (text) => text);
  for (const [cell, value] of [[price, order.unit_price], [quantity, order.quantity], [total, order.line_total]]) {
    fill(cell, value, formatDecimal);
    if (value !== null) cell.replaceChildren(...withLineBreaks(cell.textContent));
  }
  return row;
}

/** Allows line breaks between the digit groups of a number. */
function withLineBreaks(number) {
  return number.split(/(?<=\D)/).flatMap((group) => [group, document.createElement("wbr")]);
}

/** Fills a cell with the formatted value, or with "unknown" for null. */
function fill(cell, value, format) {
  cell.textContent = value === null ? "unknown" : format(value);
  cell.classList.toggle("unknown", value === null);
}

function showFailure(failure, cursor) {
  if (failure.remedy === "token") $("token-field").hidden = false;
  $("failure-title").textContent = failure.message;
  $("failure-detail").textContent = failure.detail ?? "The page has failed. Reload it.";
  $("failure-request").hidden = !failure.requestId;
  $("failure-id").textContent = failure.requestId ?? "";
  $("again").hidden = failure.remedy !== "again";
  $("again").onclick = () => (cursor === null ? open(state.user) : load(cursor));
  show("failure");
  $("result").hidden = cursor === null; // loaded orders stay visible
  announce(`${failure.message}. ${$("failure-detail").textContent}`);
  if (failure.remedy === "token") $("token").focus();
  else keepFocus($("failure-title"));
}

/** Focuses `element` if the focused element is gone, such as a pressed button. */
function keepFocus(element) {
  if (document.activeElement === document.body) focus(element);
}

/** Focuses an element, even one outside the tab order. */
function focus(element) {
  element.tabIndex = -1;
  element.focus();
}

/** Returns the user in the address bar. */
function userInAddress() {
  return new URLSearchParams(location.search).get("user") || null;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = $("user").value;
  sessionStorage.setItem("token", $("token").value);
  if (user !== userInAddress()) history.pushState(null, "", `?${new URLSearchParams({ user })}`);
  open(user);
});
$("more").addEventListener("click", () => load(state.cursor));
addEventListener("popstate", () => open(userInAddress()));

$("token").value = sessionStorage.getItem("token") ?? "";
$("token-field").hidden = $("token").value === "";
open(userInAddress());
