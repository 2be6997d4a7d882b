/**
 * Spans of OpenTelemetry's API. Without an SDK they cost next to nothing and go nowhere; one that
 * is loaded before (`node --require`, the standard `OTEL_*` variables) collects them.
 */
import { SpanStatusCode, trace, type Attributes } from "@opentelemetry/api";
import { messageOf } from "../errors/csplade-error.js";

const tracer = trace.getTracer("csplade");

/** Does `work` within a span. */
export async function traced<T>(
  name: string,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  return tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work();
    } catch (thrown) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(thrown) });
      throw thrown;
    } finally {
      span.end();
    }
  });
}
