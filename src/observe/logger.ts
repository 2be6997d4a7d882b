/**
 * Structured logs of workers: one JSON object per line on standard error. They name runs, slices,
 * ids and reasons; texts of documents are in none of them.
 */
import { pino, type Logger } from "pino";
import type { Config } from "../config/settings.js";

/** Creates the logger at the level of the setting `log.level`. */
export function createLogger(config: Pick<Config, "log.level">): Logger {
  return pino(
    {
      level: config["log.level"],
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: "message",
      formatters: { level: (level) => ({ level }) },
      // Causes of errors may quote what was sent to the cluster.
      serializers: {
        error: (thrown: unknown) =>
          thrown instanceof Error ? { name: thrown.name, message: thrown.message } : String(thrown),
      },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
