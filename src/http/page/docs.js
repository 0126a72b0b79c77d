// Shows the document of the API: operations, parameters, answers, examples, and a way to try each.

/** An element with attributes and children, of which text stays text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const code = (text) => element("code", {}, text);
const json = (value) => element("pre", { tabindex: 0 }, JSON.stringify(value, null, 2));

/** Text whose parts between backticks are code, and whose lines end where a paragraph does. */
function prose(text, attributes = { class: "prose" }) {
  const parts = text.replace(/(?<!\n)\n(?!\n)/g, " ").split("`").map((part, at) => (at % 2 ? code(part) : part));
  return element("p", attributes, ...parts);
}

/** What `value` says, or what it refers to. */
function resolved(api, value) {
  const path = value.$ref?.replace("#/", "").split("/");
  return path ? path.reduce((at, key) => at[key], api) : value;
}

/** A schema in a few words. */
function type(api, schema) {
  const { $ref, oneOf, items } = schema;
  if ($ref) return $ref.split("/").at(-1);
  if (oneOf) return oneOf.map((one) => type(api, one)).join(" or ");
  if (items) return `list of ${type(api, items)}`;
  const { minimum, maximum, minLength, maxLength, pattern } = schema;
  return [
    [schema.type].flat().filter(Boolean).join(" or "),
    minimum !== undefined && maximum !== undefined && `${minimum} to ${maximum}`,
    minLength && `at least ${minLength} long`,
    maxLength && `at most ${maxLength} long`,
    schema.default !== undefined && `by default ${schema.default}`,
    pattern && `like ${pattern}`,
  ].filter(Boolean).join(", ");
}

/** A table whose rows are cards on a phone. */
function table(label, columns, rows) {
  const head = columns.map((column) => element("th", { role: "columnheader", scope: "col" }, column));
  const lines = rows.map((cells) => element("tr", { role: "row" }, ...cells.map((cell, at) =>
    element("td", { role: "cell", "data-label": columns[at] }, cell))));
  return element("table", { role: "table", "aria-label": label },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
    element("tbody", { role: "rowgroup" }, ...lines));
}

function parameters(api, operation) {
  if (!operation.parameters?.length) return [];
  const rows = operation.parameters.map((parameter) => [
    code(parameter.name),
    parameter.required ? `${parameter.in}, required` : parameter.in,
    type(api, parameter.schema),
    prose(parameter.description ?? "", {}),
  ]);
  return [element("section", {}, element("h3", {}, "Parameters"),
    table("Parameters", ["Name", "In", "Type", "Meaning"], rows))];
}

/** One status: its headers, its schema, and an example of each answer it may be. */
function answer(api, status, response) {
  const parts = [];
  const headers = Object.entries(response.headers ?? {});
  if (headers.length) {
    parts.push(table(`Headers of ${status}`, ["Header", "Meaning"],
      headers.map(([name, header]) => [code(name), header.description ?? ""])));
  }
  for (const [kind, content] of Object.entries(response.content ?? {})) {
    parts.push(element("p", {}, code(kind), `: ${type(api, content.schema)}`));
    if (content.example !== undefined) parts.push(json(content.example));
    for (const example of Object.values(content.examples ?? {})) {
      parts.push(element("p", {}, example.summary ?? ""), json(example.value));
    }
  }
  return element("details", {}, element("summary", {}, `${status} ${response.description}`), ...parts);
}

/** Fields for the parameters, and what the service answers to them. */
function attempt(path, operation) {
  const fields = (operation.parameters ?? []).filter(({ in: place }) => place !== "header").map((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const input = element("input", { id, name: parameter.name, autocomplete: "off", spellcheck: "false" });
    input.required = parameter.required;
    input.value = parameter.required ? (parameter.example ?? "") : "";
    return { parameter, input, field: element("div", { class: "field" }, element("label", { for: id }, parameter.name), input) };
  });
  const output = element("output");
  const form = element("form", {}, ...fields.map(({ field }) => field), element("button", { type: "submit" }, "Send"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let target = path;
    for (const { parameter, input } of fields) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") query.append(parameter.name, input.value);
    }
    output.replaceChildren(await sent(query.size ? `${target}?${query}` : target));
  });
  return element("section", {}, element("h3", {}, "Try it"), form, output);
}

/** Sends a request: what was asked and what was answered, as text. */
async function sent(target) {
  const token = sessionStorage.getItem("token");
  try {
    const response = await fetch(target, { headers: token ? { authorization: `Bearer ${token}` } : {} });
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`);
    const body = await response.text();
    return element("pre", { tabindex: 0 }, [`GET ${target}`, "", `${response.status} ${response.statusText}`, ...headers, "", body].join("\n"));
  } catch {
    return element("p", {}, "The service cannot be reached.");
  }
}

function operation(api, method, path, told) {
  const security = told.security?.some((scheme) => "bearer" in scheme)
    ? [element("p", { class: "hint" }, "Takes a bearer token where the service asks for one: enter yours on the page of orders.")]
    : [];
  return element("article", { class: "operation", "aria-labelledby": told.operationId },
    element("h2", { id: told.operationId }, told.summary ?? path),
    element("p", { class: "route" }, element("span", { class: "method" }, method.toUpperCase()), code(path)),
    ...(told.description ? [prose(told.description)] : []),
    ...security,
    ...parameters(api, told),
    element("section", {}, element("h3", {}, "Answers"),
      ...Object.entries(told.responses).map(([status, response]) => answer(api, status, resolved(api, response)))),
    ...(method === "get" ? [attempt(path, told)] : []));
}

function schemas(api) {
  const told = Object.entries(api.components?.schemas ?? {}).map(([name, schema]) =>
    element("details", {}, element("summary", {}, code(name)),
      ...(schema.description ? [prose(schema.description)] : []), json(schema)));
  return element("article", { class: "operation", "aria-labelledby": "schemas" },
    element("h2", { id: "schemas" }, "Schemas"), ...told);
}

function render(api) {
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, told]) => operation(api, method, path, told)));
  document.getElementById("document").append(
    prose(api.info.description ?? ""), ...operations, schemas(api));
}

try {
  render(await (await fetch("/openapi.json")).json());
} catch (error) {
  document.getElementById("failure").hidden = false;
  throw error;
}
