/** Commands that read the configuration: shared options, and the configuration they add up to. */
import { Command } from "commander";
import { loadConfig, type LoadedConfig } from "../config/load-config.js";
import type { SettingName } from "../config/settings.js";

/** Options every configured command has, and the setting each one gives. */
const shared: readonly (readonly [flags: string, help: string, setting: SettingName])[] = [
  ["--opensearch-url <url>", "the cluster (OPENSEARCH_URL)", "opensearch.url"],
  ["--redis-url <url>", "the Redis of the queues (REDIS_URL)", "redis.url"],
  ["--model <directory>", "the checkpoint directory (CSPLADE_MODEL)", "model.path"],
];

/** A command with `--config` and the shared options; `only` limits which of them. */
export function configuredCommand(name: string, only?: readonly SettingName[]): Command {
  const command = new Command(name).option(
    "--config <file>",
    "YAML file of settings (CSPLADE_CONFIG)",
  );
  for (const [flags, help, setting] of shared) {
    if (only === undefined || only.includes(setting)) command.option(flags, help);
  }
  return command;
}

/**
 * The configuration of a command: its flags over the environment over the file.
 * @param more further settings given by this command's own options
 * @throws CspladeError `config_invalid`.
 */
export function configOf(
  options: Readonly<Record<string, unknown>>,
  more: Partial<Record<SettingName, unknown>> = {},
): LoadedConfig {
  const flags: Partial<Record<SettingName, unknown>> = { ...more };
  for (const [option, , setting] of shared) {
    const value = options[optionName(option)];
    if (value !== undefined) flags[setting] = value;
  }
  return loadConfig({
    flags,
    ...(typeof options.config === "string" ? { file: options.config } : {}),
  });
}

/** Commander's name of an option: `--opensearch-url <url>` → `opensearchUrl`. */
function optionName(flags: string): string {
  return new Command().option(flags).options[0]?.attributeName() ?? "";
}
