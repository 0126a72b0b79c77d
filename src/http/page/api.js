// Requests to the service, and the texts of its failures.

import { parseJson } from "./numbers.js";

/** A failed request. The remedy is "again" (retry), "token" (enter a token) or null. */
export class Failure extends Error {
  constructor(title, detail, remedy, requestId) {
    super(title);
    Object.assign(this, { detail, remedy, requestId });
  }
}

/** Title, detail and remedy of each problem type. */
const MESSAGES = {
  "bad-request": ["Invalid request", "The service could not read the request. Start again with the user id.", null],
  unauthorized: ["Token required", "This service requires a valid token. Enter yours above.", "token"],
  forbidden: ["Access denied", "Your token does not grant access to this user’s orders. Enter another token above.", "token"],
  "user-not-found": ["User not found", "There is no user with this id. Ids are case-sensitive, and spaces count.", null],
  "tenant-overloaded": ["Too many requests", "The service is handling the maximum number of requests for this user’s organization. Try again shortly.", "again"],
  "tenant-unavailable": ["Organization unavailable", "The data of this user’s organization is missing, incomplete or not readable. Other organizations are not affected.", "again"],
  "database-unavailable": ["Database unavailable", "The database is not available. No data is lost. Try again shortly.", "again"],
  "authentication-unavailable": ["Authentication unavailable", "The service cannot verify tokens yet. Try again shortly.", "again"],
  overloaded: ["Service overloaded", "The service is handling its maximum number of requests. Try again shortly.", "again"],
  timeout: ["Timeout", "The request took too long and was cancelled.", "again"],
  "tenant-data-invalid": ["Invalid data", "A price or a time of this organization cannot be represented exactly. No total is shown, because it would be wrong.", null],
};
MESSAGES["not-found"] = MESSAGES["user-not-found"]; // an id such as ".." changes the path

/** Fetches one page of a user's orders. */
export async function fetchOrders(user, cursor, token, signal) {
  const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
  const path = `users/${encodeURIComponent(user.toWellFormed?.() ?? user)}/orders${query}`;
  const headers = token === "" ? {} : { authorization: `Bearer ${token}` };
  let response;
  let text;
  try {
    response = await fetch(path, { headers, signal, cache: "no-store" });
    text = await response.text();
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") throw error;
    throw new Failure("Service unreachable", "Check your connection, then try again.", "again");
  }
  if (response.ok) return parseJson(text);
  throw toFailure(response, text);
}

function toFailure(response, text) {
  let problem = {};
  try {
    problem = parseJson(text);
  } catch {
    // The response is a proxy's: only its status is known.
  }
  const type = String(problem.type ?? "").replace("/problems/", "");
  const [title, detail, remedy] = MESSAGES[type] ?? [
    "Something went wrong",
    `The service returned the unexpected status ${response.status}.`,
    "again",
  ];
  return new Failure(title, detail, remedy, response.headers.get("x-request-id"));
}
