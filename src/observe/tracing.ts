/**
 * Spans of OpenTelemetry's API. Without an SDK they cost next to nothing and go nowhere; one that
 * is loaded before (`node --import`, the standard `OTEL_*` variables) collects them.
 *
 * A run is a trace, and each slice of it a trace of its own that links to the run: one trace of
 * a hundred million documents would be more than any backend shows. No span holds a text.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Link,
} from "@opentelemetry/api";
import { CspladeError } from "../errors/csplade-error.js";

const tracer = trace.getTracer("csplade");

/** What stands for a span in a record, for {@link traced} to link to: W3C Trace Context. */
export type TraceParent = string;

/** How a span begins. */
export interface SpanOptions {
  /** Begin a trace of its own, which links to this span. */
  readonly linkTo?: TraceParent | undefined;
  /** Taken from a queue: what OpenTelemetry calls a consumer. */
  readonly consumer?: boolean;
}

/** Does `work` within a span. It can add attributes that are known only afterwards. */
export async function traced<T>(
  name: string,
  attributes: Attributes,
  work: (add: (attributes: Attributes) => void) => Promise<T>,
  { linkTo, consumer = false }: SpanOptions = {},
): Promise<T> {
  const links = linkTo === undefined ? [] : linksTo(linkTo);
  const options = {
    attributes,
    links,
    root: linkTo !== undefined,
    kind: consumer ? SpanKind.CONSUMER : SpanKind.INTERNAL,
  };
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await work((more) => void span.setAttributes(more));
    } catch (thrown) {
      // A message may quote a document; the code does not.
      span.setAttribute("error.type", thrown instanceof CspladeError ? thrown.code : "_OTHER");
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw thrown;
    } finally {
      span.end();
    }
  });
}

/** The span that is active now, for a record; undefined without an SDK. */
export function activeSpan(): TraceParent | undefined {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent;
}

function linksTo(parent: TraceParent): Link[] {
  const found = propagation.extract(ROOT_CONTEXT, { traceparent: parent });
  const to = trace.getSpanContext(found);
  return to === undefined ? [] : [{ context: to }];
}

/** How long the end of a command waits for its last spans to be taken, milliseconds. */
const FLUSH_MS = 5_000;

/** Sends what an SDK still holds back: most only do when they are asked to. Never throws. */
export async function flushSpans(): Promise<void> {
  // The SDK may have brought its own copy of the API: what counts is what it can do.
  const proxy = trace.getTracerProvider() as { getDelegate?: () => unknown };
  const sdk = proxy.getDelegate?.() ?? proxy;
  if (!canFlush(sdk)) return;
  const late = new AbortController();
  await Promise.race([
    sdk.forceFlush().catch(() => {}),
    sleep(FLUSH_MS, undefined, late).catch(() => {}),
  ]);
  late.abort();
}

function canFlush(sdk: unknown): sdk is { forceFlush(): Promise<void> } {
  return typeof (sdk as { forceFlush?: unknown } | null)?.forceFlush === "function";
}
