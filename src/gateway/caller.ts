/** The headers by which a cluster, or the proxy in front of it, knows who asks. */
import type { IncomingMessage } from "node:http";
import type { CallerHeaders } from "./index-plans.js";

/** Headers about the message and the connection; every other one may be about the caller. */
const NOT_THE_CALLER =
  /^(?:host|connection|keep-alive|transfer-encoding|upgrade|te|trailer|expect|content-.*|accept.*|user-agent|cache-control|pragma|origin|referer|sec-.*|dnt|date|range|if-.*|x-opaque-id|x-elastic-client-meta|x-elastic-product-origin|traceparent|tracestate|proxy-connection|x-request-id)$/;

/** Those headers of a request, in a fixed order. */
export function callerHeaders(request: Pick<IncomingMessage, "headersDistinct">): CallerHeaders {
  const found: Record<string, string> = {};
  for (const name of Object.keys(request.headersDistinct).sort()) {
    const values = request.headersDistinct[name];
    if (values !== undefined && !NOT_THE_CALLER.test(name)) found[name] = values.join(", ");
  }
  return found;
}
