// Numbers and times in the reader's locale, without losing a digit: what comes in is text, and is never
// made a floating-point number of.

/** Whether the engine formats decimal text exactly. One that does not is shown the text as it is. */
const isExact = new Intl.NumberFormat("en").format("9007199254740993") === "9,007,199,254,740,993";

/** Formats exact decimal text, such as "12345678901234567890.1234", with all of its decimals. */
export function decimal(text, locale) {
  const decimals = text.split(".")[1]?.length ?? 0;
  const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return isExact ? new Intl.NumberFormat(locale, options).format(text) : text;
}

/** Formats a time without a time zone, such as "2026-01-31T09:30:00", and makes none of it. */
export function time(text, locale) {
  const date = { year: "numeric", month: "short", day: "numeric" };
  const options = { ...date, hour: "numeric", minute: "2-digit", timeZone: "UTC" };
  return new Intl.DateTimeFormat(locale, options).format(new Date(`${text.slice(0, 23)}Z`));
}

/** Reads JSON whose numbers stay the text that they were sent as, where the engine tells it. */
export function parse(json) {
  return JSON.parse(json, (_, value, context) =>
    typeof value === "number" ? (context?.source ?? String(value)) : value,
  );
}
