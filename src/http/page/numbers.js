// Formatting of numbers and times for the reader's locale. Numbers stay decimal text, never floating point, so
// no digit is lost.

/** True if the engine formats decimal text exactly. Otherwise the text is shown unformatted. */
const isExact = new Intl.NumberFormat("en").format("9007199254740993") === "9,007,199,254,740,993";

/** Formats exact decimal text, such as "12345678901234567890.1234", with all of its decimals. */
export function formatDecimal(text, locale) {
  const decimals = text.split(".")[1]?.length ?? 0;
  const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return isExact ? new Intl.NumberFormat(locale, options).format(text) : text;
}

/** Formats a time without a time zone, such as "2026-01-31T09:30:00", without converting it. */
export function formatTime(text, locale) {
  const date = { year: "numeric", month: "short", day: "numeric" };
  const options = { ...date, hour: "numeric", minute: "2-digit", timeZone: "UTC" };
  return new Intl.DateTimeFormat(locale, options).format(new Date(`${text.slice(0, 23)}Z`));
}

/** Parses JSON. Numbers become their source text if the engine provides it. */
export function parseJson(json) {
  return JSON.parse(json, (_, value, context) =>
    typeof value === "number" ? (context?.source ?? String(value)) : value,
  );
}
