/**
 * Reads the configuration: defaults, then `csplade.yaml`, then the environment,
 * then flags; the last one that names a setting wins and is remembered as its origin.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { CspladeError } from "../errors/csplade-error.js";
import { demandFitting } from "./fitting-settings.js";
import { readYaml } from "./yaml-file.js";
import { withoutPasswords } from "./without-passwords.js";
import { settings, type Config, type SettingName } from "./settings.js";
import type { Setting } from "./setting-schemas.js";

/** A loaded configuration with the origin of each value, for people. */
export interface LoadedConfig {
  readonly values: Config;
  /** `default`, `file csplade.yaml`, `environment OPENSEARCH_URL` or `flag`. */
  readonly origins: Readonly<Record<SettingName, string>>;
}

/** What {@link loadConfig} reads from besides the defaults. */
export interface ConfigInputs {
  /** Values given on the command line, by setting name; `undefined` means not given. */
  readonly flags?: Partial<Record<SettingName, unknown>>;
  readonly env?: NodeJS.ProcessEnv;
  /** Path of a YAML file; without it `csplade.yaml` of the working directory, where there is one. */
  readonly file?: string;
}

const settingNames = Object.keys(settings) as SettingName[];

/**
 * Loads and validates the configuration.
 * @throws CspladeError `config_invalid` naming the setting, its origin and what is wrong with it.
 */
export function loadConfig(inputs: ConfigInputs = {}): LoadedConfig {
  const env = inputs.env ?? process.env;
  const file = readConfigFile(inputs.file ?? env.CSPLADE_CONFIG);
  const values: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  for (const name of settingNames) {
    const setting: Setting = settings[name];
    const [raw, origin] = pick(name, setting, inputs.flags ?? {}, env, file);
    const parsed = setting.schema.safeParse(raw);
    if (!parsed.success) {
      const shown = setting.secret ? "(hidden)" : withoutPasswords(JSON.stringify(raw));
      const reason = parsed.error.issues.map((issue) => issue.message).join("; ");
      throw new CspladeError(
        "config_invalid",
        `The setting ${name} = ${shown} (${origin}) is not valid: ${reason}.`,
        { hint: `${setting.help} Set it with ${setting.env} or in csplade.yaml.` },
      );
    }
    values[name] = parsed.data;
    origins[name] = origin;
  }
  const loaded = { values: values as Config, origins: origins as Record<SettingName, string> };
  demandFitting(loaded.values, loaded.origins);
  return loaded;
}

function pick(
  name: SettingName,
  setting: Setting,
  flags: Partial<Record<SettingName, unknown>>,
  env: NodeJS.ProcessEnv,
  file: ConfigFile | undefined,
): [raw: unknown, origin: string] {
  if (flags[name] !== undefined) return [flags[name], "flag"];
  const fromEnv = env[setting.env];
  if (fromEnv !== undefined && fromEnv !== "") return [fromEnv, `environment ${setting.env}`];
  if (file?.values.has(name)) return [file.values.get(name), `file ${path.basename(file.path)}`];
  return [undefined, "default"];
}

interface ConfigFile {
  readonly path: string;
  readonly values: ReadonlyMap<string, unknown>;
}

function readConfigFile(named: string | undefined): ConfigFile | undefined {
  const file = named ?? "csplade.yaml";
  if (!existsSync(file)) {
    if (named === undefined) return undefined;
    throw new CspladeError("config_invalid", `The configuration file ${file} does not exist.`);
  }
  const tree = readYaml(file).toJS() as unknown;
  const values = new Map<string, unknown>();
  flatten(tree ?? {}, "", values);
  for (const name of values.keys()) {
    if (!Object.hasOwn(settings, name)) {
      throw new CspladeError("config_invalid", `${file} sets ${name}, which is not a setting.`, {
        hint: "csplade doctor lists every setting.",
      });
    }
  }
  return { path: file, values };
}

function flatten(tree: unknown, prefix: string, into: Map<string, unknown>): void {
  // A name without a value, such as a section whose lines are all commented out, sets nothing.
  if (tree === null) return;
  if (typeof tree !== "object" || Array.isArray(tree)) {
    into.set(prefix, tree);
    return;
  }
  for (const [key, value] of Object.entries(tree)) {
    flatten(value, prefix === "" ? key : `${prefix}.${key}`, into);
  }
}
