/**
 * Requests that a page of another site made a browser send. Browsers keep the credentials that the
 * console asked for and add them to any request for this address, so such a request would have the
 * rights of whoever looks at that page.
 */
import type { IncomingMessage } from "node:http";

/**
 * Whether a request is from another site that is not allowed; programs send neither header.
 * @param allowed origins such as `https://kibana.example`, or `*`.
 */
export function isForeignPage(
  { headers, method = "" }: Pick<IncomingMessage, "headers" | "method">,
  allowed: readonly string[],
): boolean {
  const { origin, host = "" } = headers;
  if (allowed.includes("*")) return false;
  if (origin !== undefined) return !allowed.includes(origin) && hostOf(origin) !== host;
  const site = headers["sec-fetch-site"];
  if (site === undefined || site === "same-origin" || site === "none") return false;
  // A link that somebody follows shows a page and gives the other site nothing.
  return !(headers["sec-fetch-mode"] === "navigate" && (method === "GET" || method === "HEAD"));
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
