/** Which headers of a message go on through the proxy. */

/** Headers about one connection (RFC 9110, 7.6.1), and those that the sender writes itself. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const REQUEST_ONLY: ReadonlySet<string> = new Set([...HOP_BY_HOP, "host", "expect"]);
const NONE: ReadonlySet<string> = new Set();
const OF_THE_BODY: ReadonlySet<string> = new Set(["content-length", "content-encoding"]);

/**
 * Names and values in turn, as undici and `writeHead` take them.
 * @param rewritten the body is another one: headers that describe the old one are left out.
 * @param without names of others that are left out.
 */
export function requestHeaders(
  raw: readonly string[],
  rewritten: boolean,
  without: ReadonlySet<string> = NONE,
): string[] {
  return pairs(
    raw,
    (name) =>
      !REQUEST_ONLY.has(name) && !without.has(name) && !(rewritten && OF_THE_BODY.has(name)),
  );
}

/**
 * Header values are bytes: `latin1` gives each of them back as it was.
 * @param rewritten as for {@link requestHeaders}.
 */
export function responseHeaders(raw: readonly (Buffer | string)[], rewritten = false): string[] {
  const texts = raw.map((each) => (typeof each === "string" ? each : each.toString("latin1")));
  return pairs(texts, (name) => !HOP_BY_HOP.has(name) && !(rewritten && OF_THE_BODY.has(name)));
}

/** Also leaves out what the `Connection` header names: it is about this connection, too. */
function pairs(raw: readonly string[], keep: (name: string) => boolean): string[] {
  const named = new Set<string>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (raw[i]?.toLowerCase() !== "connection") continue;
    for (const name of (raw[i + 1] ?? "").split(",")) named.add(name.trim().toLowerCase());
  }
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (keep(name.toLowerCase()) && !named.has(name.toLowerCase()))
      kept.push(name, raw[i + 1] ?? "");
  }
  return kept;
}
