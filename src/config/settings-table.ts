/** The settings as a table for people, and as a JSON schema of `csplade.yaml` for editors. */
import path from "node:path";
import { z } from "zod";
import { packageRoot } from "./package-root.js";
import { settings, type SettingName } from "./settings.js";
import type { Setting } from "./setting-schemas.js";

/** A row of the table. */
export interface SettingRow {
  readonly name: SettingName;
  readonly env: string;
  /** What holds where nothing is set, in words; empty if that is nothing. */
  readonly default: string;
  /** Which values there may be, in words. */
  readonly values: string;
  readonly help: string;
}

/** What the settings' schemas come to as JSON schema, as far as the table shows it. */
const kindSchema = z.looseObject({
  type: z.string().optional(),
  enum: z.array(z.string()).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  format: z.string().optional(),
  default: z.unknown().optional(),
  anyOf: z.array(z.looseObject({ type: z.string().optional() })).optional(),
});

type Kind = z.infer<typeof kindSchema>;

/** Every setting there is, in the order of the table in `settings.ts`. */
export function settingRows(): SettingRow[] {
  return (Object.keys(settings) as SettingName[]).map((name) => {
    const setting: Setting = settings[name];
    const kind = kindOf(name);
    return {
      name,
      env: setting.env,
      default: defaultPhrase(name, kind),
      values: valuesPhrase(kind),
      help: setting.help,
    };
  });
}

/** JSON schema (2020-12) of `csplade.yaml`: names of settings are nested by their dots. */
export function settingsSchema(): object {
  const groups: Record<string, object> = {};
  for (const name of Object.keys(settings) as SettingName[]) {
    const { help }: Setting = settings[name];
    const kind = kindOf(name);
    delete kind.$schema;
    // What depends on the machine is no default to complete.
    if (isOfMachine(kind.default)) delete kind.default;
    const [group, ...rest] = name.split(".");
    const leaf = { description: help, ...kind };
    if (rest.length === 0) {
      groups[name] = leaf;
      continue;
    }
    const parent = (groups[group ?? ""] ??= objectOf({})) as { properties: object };
    Object.assign(parent.properties, { [rest.join(".")]: leaf });
  }
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "csplade.yaml",
    ...objectOf(groups),
  };
}

function objectOf(properties: object) {
  return { type: "object", additionalProperties: false, properties };
}

function kindOf(name: SettingName): Kind {
  const { schema }: Setting = settings[name];
  return kindSchema.parse(z.toJSONSchema(schema, { io: "output", unrepresentable: "any" }));
}

function isOfMachine(value: unknown): boolean {
  return typeof value === "string" && path.isAbsolute(value);
}

function defaultPhrase(name: SettingName, { default: value }: Kind): string {
  if (value === undefined) return "";
  if (name === "home") return "/var/lib/csplade for root, else ~/.local/share/csplade";
  if (typeof value !== "string")
    return Array.isArray(value) ? value.join(",") : JSON.stringify(value);
  return isOfMachine(value) ? path.relative(packageRoot, value) : value;
}

function valuesPhrase({ type, enum: choices, minimum, maximum, format, anyOf }: Kind): string {
  if (choices !== undefined) return choices.join(", ");
  if (anyOf?.some((each) => each.type === "boolean")) return "true, false";
  if (type === "array") return "a list";
  if (type !== "integer" && type !== "number") return format === "uri" ? "a URL" : "text";
  const whole = type === "integer" ? "" : ", not only whole";
  return `${minimum ?? ""} to ${maximum ?? ""}${whole}`;
}
