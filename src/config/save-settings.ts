/** Stores settings in a configuration file, leaving everything else in it as it is. */
import { chmodSync, existsSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isMap, parseDocument } from "yaml";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { loadConfig } from "./load-config.js";
import { readYaml } from "./yaml-file.js";
import type { SettingName } from "./settings.js";

/**
 * Sets values in a YAML file, which is made where there is none; comments and other settings stay.
 * The file is replaced in one step, and only if it is a valid configuration afterwards.
 * @throws CspladeError `config_invalid`.
 */
export function saveSettings(file: string, values: Partial<Record<SettingName, unknown>>): void {
  const before = existsSync(file) ? statSync(file) : undefined;
  const document = before === undefined ? parseDocument("") : readYaml(file);
  if (document.contents !== null && !isMap(document.contents)) {
    throw new CspladeError("config_invalid", `${file} holds no settings but something else.`);
  }
  const beside = `${file}.${process.pid}.part`;
  try {
    for (const [name, value] of Object.entries(values)) {
      // A name may be written whole (`model.threads: 2`) or nested; it is changed as it is found.
      if (document.has(name)) document.set(name, value);
      else document.setIn(name.split("."), value);
    }
    // It may hold passwords: readable by whom the old one was, a new one by its owner.
    writeFileSync(beside, document.toString(), { mode: 0o600, flag: "wx" });
    if (before !== undefined) chmodSync(beside, before.mode & 0o7777);
    loadConfig({ env: {}, file: beside });
    renameSync(beside, file);
  } catch (cause) {
    rmSync(beside, { force: true });
    if (cause instanceof CspladeError) throw cause;
    throw new CspladeError("config_invalid", `${file} cannot be written: ${messageOf(cause)}`, {
      cause,
    });
  }
}
