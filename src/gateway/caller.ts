/** Who asks, as a cluster or the proxy in front of it knows: by headers. */
import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { matchesPattern } from "../cluster/wildcard.js";

/** A caller. */
export interface Caller {
  /** Headers that may say who asks, as they came. */
  readonly headers: Readonly<Record<string, string>>;
  /** Different for callers who authenticate differently; no credential can be read from it. */
  readonly key: string;
}

/** Headers about the message and the connection; every other one may be about the caller. */
const NOT_THE_CALLER =
  /^(?:host|connection|keep-alive|transfer-encoding|upgrade|te|trailer|expect|content-.*|accept.*|user-agent|cache-control|pragma|origin|referer|sec-.*|dnt|date|range|if-.*|x-opaque-id|x-elastic-client-meta|x-elastic-product-origin|traceparent|tracestate|proxy-connection|x-request-id)$/;

/**
 * The caller of a request.
 * @param identifying names and patterns (`x-*user*`) of the headers that tell callers apart. Others,
 *   such as those of traces, go to the cluster with a look-up but do not make another caller.
 */
export function callerOf(
  request: Pick<IncomingMessage, "headersDistinct">,
  identifying: readonly string[],
): Caller {
  const headers: Record<string, string> = {};
  let all = "";
  for (const name of Object.keys(request.headersDistinct).sort()) {
    const values = request.headersDistinct[name];
    if (values === undefined || NOT_THE_CALLER.test(name)) continue;
    const value = values.join(", ");
    headers[name] = value;
    if (identifying.some((pattern) => matchesPattern(pattern, name))) all += `${name}\0${value}\0`;
  }
  return { headers, key: hash("sha256", all, "base64") };
}
