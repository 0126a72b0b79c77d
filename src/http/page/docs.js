// The viewer of the API document: operations, parameters, responses, examples, and a form to try each.

/** Creates an element. Children that are text stay text. */
function element(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.append(...children);
  return created;
}

const code = (text) => element("code", {}, text);
const json = (value) => element("pre", { tabindex: 0 }, JSON.stringify(value, null, 2));

/** Creates a paragraph. Text between backticks becomes code, and single line breaks become spaces. */
function paragraph(text, attributes = { class: "prose" }) {
  const parts = text.replace(/(?<!\n)\n(?!\n)/g, " ").split("`").map((part, at) => (at % 2 ? code(part) : part));
  return element("p", attributes, ...parts);
}

/** Follows the reference of `value`, if it is one. */
function resolve(api, value) {
  const path = value.$ref?.replace("#/", "").split("/");
  return path ? path.reduce((at, key) => at[key], api) : value;
}

/** Describes a schema in a few words. */
function describeType(api, schema) {
  const { $ref, oneOf, items } = schema;
  if ($ref) return $ref.split("/").at(-1);
  if (oneOf) return oneOf.map((schema) => describeType(api, schema)).join(" or ");
  if (items) return `list of ${describeType(api, items)}`;
  const { minimum, maximum, minLength, maxLength, pattern } = schema;
  return [
    [schema.type].flat().filter(Boolean).join(" or "),
    minimum !== undefined && maximum !== undefined && `${minimum} to ${maximum}`,
    minLength && `at least ${minLength} long`,
    maxLength && `at most ${maxLength} long`,
    schema.default !== undefined && `default ${schema.default}`,
    pattern && `pattern ${pattern}`,
  ].filter(Boolean).join(", ");
}

/** Creates a table. Its rows become cards on a phone. */
function createTable(label, columns, rows) {
  const head = columns.map((column) => element("th", { role: "columnheader", scope: "col" }, column));
  const lines = rows.map((cells) => element("tr", { role: "row" }, ...cells.map((cell, at) =>
    element("td", { role: "cell", "data-label": columns[at] }, cell))));
  return element("table", { role: "table", "aria-label": label },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
    element("tbody", { role: "rowgroup" }, ...lines));
}

function renderParameters(api, operation) {
  if (!operation.parameters?.length) return [];
  const rows = operation.parameters.map((parameter) => [
    code(parameter.name),
    parameter.required ? `${parameter.in}, required` : parameter.in,
    describeType(api, parameter.schema),
    paragraph(parameter.description ?? "", {}),
  ]);
  return [element("section", {}, element("h3", {}, "Parameters"),
    createTable("Parameters", ["Name", "In", "Type", "Meaning"], rows))];
}

/** Renders a response: headers, schema and examples. */
function renderResponse(api, status, response) {
  const parts = [];
  const headers = Object.entries(response.headers ?? {});
  if (headers.length) {
    parts.push(createTable(`Headers of ${status}`, ["Header", "Meaning"],
      headers.map(([name, header]) => [code(name), header.description ?? ""])));
  }
  for (const [mediaType, content] of Object.entries(response.content ?? {})) {
    parts.push(element("p", {}, code(mediaType), `: ${describeType(api, content.schema)}`));
    if (content.example !== undefined) parts.push(json(content.example));
    for (const example of Object.values(content.examples ?? {})) {
      parts.push(element("p", {}, example.summary ?? ""), json(example.value));
    }
  }
  return element("details", {}, element("summary", {}, `${status} ${response.description}`), ...parts);
}

/** Creates a form for the parameters that sends the request and shows the response. */
function createForm(path, operation) {
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
    output.replaceChildren(await send(query.size ? `${target}?${query}` : target));
  });
  return element("section", {}, element("h3", {}, "Try it"), form, output);
}

/** Sends a request and renders it with its response as text. */
async function send(target) {
  const token = sessionStorage.getItem("token");
  try {
    const response = await fetch(`.${target}`, { headers: token ? { authorization: `Bearer ${token}` } : {} });
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`);
    const body = await response.text();
    return element("pre", { tabindex: 0 }, [`GET ${target}`, "", `${response.status} ${response.statusText}`, ...headers, "", body].join("\n"));
  } catch {
    return element("p", {}, "The service is unreachable.");
  }
}

function renderOperation(api, method, path, operation) {
  const security = operation.security?.some((scheme) => "bearer" in scheme)
    ? [element("p", { class: "hint" }, "Requires a bearer token if the service is configured to. Enter yours on the orders page.")]
    : [];
  return element("article", { class: "operation", "aria-labelledby": operation.operationId },
    element("h2", { id: operation.operationId }, operation.summary ?? path),
    element("p", { class: "route" }, element("span", { class: "method" }, method.toUpperCase()), code(path)),
    ...(operation.description ? [paragraph(operation.description)] : []),
    ...security,
    ...renderParameters(api, operation),
    element("section", {}, element("h3", {}, "Responses"),
      ...Object.entries(operation.responses).map(([status, response]) => renderResponse(api, status, resolve(api, response)))),
    ...(method === "get" ? [createForm(path, operation)] : []));
}

function renderSchemas(api) {
  const schemas = Object.entries(api.components?.schemas ?? {}).map(([name, schema]) =>
    element("details", {}, element("summary", {}, code(name)),
      ...(schema.description ? [paragraph(schema.description)] : []), json(schema)));
  return element("article", { class: "operation", "aria-labelledby": "schemas" },
    element("h2", { id: "schemas" }, "Schemas"), ...schemas);
}

function render(api) {
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => renderOperation(api, method, path, operation)));
  document.getElementById("document").append(
    paragraph(api.info.description ?? ""), ...operations, renderSchemas(api));
}

try {
  render(await (await fetch("openapi.json")).json());
} catch (error) {
  document.getElementById("failure").hidden = false;
  throw error;
}
