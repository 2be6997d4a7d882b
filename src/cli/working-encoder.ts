/** The encoder of a process that works on jobs: its health is served, its threads' states are logged. */
import type { Config } from "../config/settings.js";
import { openEncoder, type Encoder } from "../encoder/encoder.js";
import type { ThreadTransition } from "../encoder/thread-state.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { MetricsServer } from "../observe/metrics-server.js";
import type { WorkerMetrics } from "../observe/worker-metrics.js";

/** Where an encoder's state is shown. */
export interface EncoderShown {
  readonly metrics?: WorkerMetrics;
  /** Told of transitions that are no ordinary step. */
  readonly onTrouble: (message: string) => void;
  /** Told of every transition. */
  readonly onTransition?: (transition: ThreadTransition) => void;
}

/**
 * Opens an encoder whose troubles are told.
 * @throws CspladeError as `openEncoder`.
 */
export async function openShownEncoder(config: Config, shown: EncoderShown): Promise<Encoder> {
  return openEncoder(config, {
    onMemoryExhausted: (tokens) =>
      shown.onTrouble(
        `Memory ran out: batches have at most ${tokens} tokens now. Set CSPLADE_TOKEN_BUDGET=${tokens}.`,
      ),
    onTransition(transition) {
      const { thread, from, to, reason } = transition;
      shown.metrics?.threadBecame(from, to);
      shown.onTransition?.(transition);
      if (reason !== undefined) shown.onTrouble(`Encoder thread ${thread} is ${to}: ${reason}`);
    },
  });
}

/** Has the probes say how the encoder is, and that the process drains once `signal` is aborted. */
export function showHealth(
  served: MetricsServer | undefined,
  encoder: Encoder,
  signal: AbortSignal,
): void {
  served?.follow(() => {
    const health = encoder.health();
    const drains = signal.aborted && health.state !== "broken";
    return drains ? { ...health, state: "draining" } : { ...health };
  });
}

/** A signal of a process's end: it is asked to, or its encoder is broken. */
export function untilBroken(encoder: Encoder, signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, encoder.broken]);
}

/** @throws CspladeError why the encoder is broken, if it is. */
export function demandUnbroken({ broken }: Encoder): void {
  if (broken.aborted) {
    const reason: unknown = broken.reason;
    throw reason instanceof CspladeError
      ? reason
      : new CspladeError("device_failed", "The encoder is broken.", { cause: reason });
  }
}
