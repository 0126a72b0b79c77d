// Asks the service, and puts each failure in words.

import { parse } from "./numbers.js";

/** What went wrong, and what can be done about it: to try "again", to give a "token", or nothing. */
export class Failure extends Error {
  constructor(title, detail, remedy, requestId) {
    super(title);
    Object.assign(this, { detail, remedy, requestId });
  }
}

/** What is told of each type of problem. */
const WORDS = {
  "bad-request": ["That cannot be asked", "The service does not understand the request. Begin anew with the user’s id.", null],
  unauthorized: ["A token is needed", "This service answers only to those who show a valid token. Enter yours above.", "token"],
  forbidden: ["No access to this user", "Your token does not give access to this user’s orders. Another one may.", "token"],
  "user-not-found": ["No such user", "Nobody has this id. Upper and lower case, and spaces, make a difference.", null],
  "tenant-overloaded": ["Too many requests", "This user’s organization is asked for more than its share at the moment.", "again"],
  "tenant-unavailable": ["Organization unavailable", "The data of this user’s organization is missing, incomplete or not readable. Other organizations are not affected.", "again"],
  "database-unavailable": ["Database down", "The database does not answer at the moment. Nothing is lost; it may be back shortly.", "again"],
  overloaded: ["The service is busy", "It has more requests at once than it takes. It may be free again shortly.", "again"],
  timeout: ["It took too long", "The answer was not there in time, and was given up.", "again"],
  "tenant-data-invalid": ["The data makes no exact total", "A price or a time of this organization cannot be represented exactly, so none is shown rather than a wrong one.", null],
};
WORDS["not-found"] = WORDS["user-not-found"]; // ids such as ".." make another path

/** One page of a user's orders. */
export async function orders(user, cursor, token, signal) {
  const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
  const path = `/users/${encodeURIComponent(user.toWellFormed?.() ?? user)}/orders${query}`;
  const headers = token === "" ? {} : { authorization: `Bearer ${token}` };
  let response;
  let text;
  try {
    response = await fetch(path, { headers, signal, cache: "no-store" });
    text = await response.text();
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") throw error;
    throw new Failure("The service cannot be reached", "Check your connection, then try again.", "again");
  }
  if (response.ok) return parse(text);
  throw failure(response, text);
}

function failure(response, text) {
  let problem = {};
  try {
    problem = parse(text);
  } catch {
    // Something in between has answered: its status is all there is to go by.
  }
  const type = String(problem.type ?? "").replace("/problems/", "");
  const [title, detail, remedy] = WORDS[type] ?? [
    "Something went wrong",
    `The service answered ${response.status}, which was not foreseen.`,
    "again",
  ];
  return new Failure(title, detail, remedy, response.headers.get("x-request-id"));
}
