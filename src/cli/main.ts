#!/usr/bin/env node
/** The `csplade` command. */
import { Command, CommanderError } from "commander";
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../config/package-root.js";
import { CspladeError } from "../errors/csplade-error.js";
import { flushSpans } from "../observe/tracing.js";
import { annCommand } from "./ann.js";
import { demoCommand } from "./demo.js";
import { doctorCommand } from "./doctor.js";
import { downCommand } from "./down.js";
import { encodeCommand } from "./encode.js";
import { evalCommand } from "./eval.js";
import { exporterCommand } from "./exporter.js";
import { followCommand } from "./follow.js";
import { ingestCommand } from "./ingest.js";
import { modelsCommand } from "./models.js";
import { EXIT, reportError } from "./outcome.js";
import { reindexCommand } from "./reindex.js";
import { searchCommand } from "./search.js";
import { serveCommand } from "./serve.js";
import { statusCommand } from "./status.js";
import { steerCommand } from "./steer.js";
import { upCommand } from "./up.js";
import { workerCommand } from "./worker.js";

const { version } = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
  version: string;
};

const program = new Command("csplade")
  .description(
    "Learned sparse retrieval with causal language models for OpenSearch and Elasticsearch.",
  )
  .version(version)
  .showSuggestionAfterError()
  .addHelpText(
    "after",
    "\nExit codes: 0 done; 1 the command failed; 2 wrong usage or configuration;\n" +
      "3 done, but some documents failed; 4 the device that encodes is broken; 130 interrupted.",
  );

const commands = [
  upCommand(),
  downCommand(),
  ingestCommand(),
  reindexCommand(),
  searchCommand(),
  encodeCommand(),
  modelsCommand(),
  evalCommand(),
  annCommand(),
  workerCommand(),
  followCommand(),
  statusCommand(),
  steerCommand(),
  exporterCommand(),
  serveCommand(),
  doctorCommand(),
  demoCommand(),
];
for (const command of commands) program.addCommand(command);
for (const command of [program, ...program.commands]) command.exitOverride();

// A closed pipe (`csplade … | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  throw error;
});

let hangs = false;
try {
  await program.parseAsync();
} catch (thrown) {
  hangs = thrown instanceof CspladeError && thrown.code === "device_hung";
  process.exitCode =
    thrown instanceof CommanderError
      ? thrown.exitCode === 0
        ? EXIT.ok
        : EXIT.usage
      : reportError(thrown, process.argv.includes("--json"));
} finally {
  await flushSpans();
  // A thread that hangs in the runtime would be waited for at an ordinary end.
  if (hangs) process.kill(process.pid, "SIGKILL");
}
