/** Settings that are valid one by one and can never work together. */
import { CspladeError } from "../errors/csplade-error.js";
import { pruningProblem } from "../sparse/prune.js";
import { settings, type Config, type SettingName } from "./settings.js";
import type { Setting } from "./setting-schemas.js";

/** What is wrong with one setting beside another one. */
interface Misfit {
  readonly setting: SettingName;
  /** Goes on from "the setting X = … (origin)". */
  readonly problem: string;
  readonly hint: string;
}

/**
 * Checks the settings against each other.
 * @throws CspladeError `config_invalid` naming the setting, its value and origin, and its range.
 */
export function demandFitting(
  values: Config,
  origins: Readonly<Record<SettingName, string>>,
): void {
  const misfit = findMisfit(values);
  if (misfit === undefined) return;
  const { setting, problem, hint } = misfit;
  const row: Setting = settings[setting];
  const shown = row.secret ? "(hidden)" : JSON.stringify(values[setting]);
  throw new CspladeError(
    "config_invalid",
    `The setting ${setting} = ${shown} (${origins[setting]}) ${problem}.`,
    { hint },
  );
}

function findMisfit(config: Config): Misfit | undefined {
  return (
    pruningMisfit(config, "document") ?? pruningMisfit(config, "query") ?? signInMisfit(config)
  );
}

function pruningMisfit(config: Config, side: "document" | "query"): Misfit | undefined {
  const prune_type = config[`${side}.prune_type`];
  const prune_ratio = config[`${side}.prune_ratio`];
  // neural-search takes 0 as well; of every vector nothing would be left.
  const nothing = prune_type === "alpha_mass" && prune_ratio === 0;
  const rule = nothing ? "above 0 and below 1" : pruningProblem({ prune_type, prune_ratio });
  if (rule === undefined) return undefined;
  return {
    setting: `${side}.prune_ratio`,
    problem: `does not fit ${side}.prune_type = ${prune_type}: it must be ${rule}`,
    hint: `Set ${settings[`${side}.prune_ratio`].env}, or ${settings[`${side}.prune_type`].env}=none to keep every term.`,
  };
}

function signInMisfit(config: Config): Misfit | undefined {
  const url = new URL(config["opensearch.url"]);
  const username = config["opensearch.username"] ?? url.username;
  const region = config["opensearch.aws_region"];
  if (region !== undefined && (username !== "" || config["opensearch.api_key"] !== undefined)) {
    return {
      setting: "opensearch.aws_region",
      problem:
        "signs requests, and opensearch.username or opensearch.api_key would sign in otherwise",
      hint: "Keep one of them: csplade doctor shows where each comes from.",
    };
  }
  if (region === undefined && config["opensearch.aws_service"] !== "es") {
    return {
      setting: "opensearch.aws_service",
      problem: "is for signed requests, and without opensearch.aws_region nothing is signed",
      hint: "Set OPENSEARCH_AWS_REGION.",
    };
  }
  if (config["opensearch.password"] !== undefined && username === "") {
    return {
      setting: "opensearch.password",
      problem: "has no opensearch.username beside it: requests would go without credentials",
      hint: "Set OPENSEARCH_USERNAME.",
    };
  }
  return undefined;
}
