/** Stores settings in a configuration file, leaving everything else in it as it is. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { isMap, parseDocument } from "yaml";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { loadConfig } from "./load-config.js";
import type { SettingName } from "./settings.js";

/**
 * Sets values in a YAML file, which is made where there is none; comments and other settings stay.
 * The file is replaced in one step, and only if it is a valid configuration afterwards.
 * @throws CspladeError `config_invalid`.
 */
export function saveSettings(file: string, values: Partial<Record<SettingName, unknown>>): void {
  const document = parseDocument(existsSync(file) ? readFileSync(file, "utf8") : "");
  const [fault] = document.errors;
  if (fault !== undefined) {
    throw new CspladeError("config_invalid", `${file} is not valid YAML: ${fault.message}`);
  }
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
    writeFileSync(beside, document.toString());
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
