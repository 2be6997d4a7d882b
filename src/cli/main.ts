#!/usr/bin/env node
/** The `csplade` program: adds the commands and turns what was thrown into a sentence and an exit status. */
import { Command } from "commander";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { downCommand } from "./down.js";
import { upCommand } from "./up.js";

const program = new Command("csplade")
  .description("Learned sparse retrieval with causal language models")
  .addCommand(upCommand())
  .addCommand(downCommand());

try {
  await program.parseAsync();
} catch (thrown) {
  const known = thrown instanceof CspladeError;
  process.stderr.write(`csplade: ${messageOf(thrown)}\n`);
  if (known && thrown.hint !== undefined) process.stderr.write(`${thrown.hint}\n`);
  process.exitCode = known && thrown.code === "aborted" ? 130 : 1;
}
