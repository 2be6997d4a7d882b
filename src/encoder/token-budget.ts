/** The size of a batch. */
import type { Config } from "../config/settings.js";

/** Most tokens in a batch: larger ones leave the CPU's cache, smaller ones leave a GPU idle. */
export function tokenBudgetOf(
  config: Pick<Config, "model.token_budget" | "model.provider">,
): number {
  return config["model.token_budget"] || (config["model.provider"] === "cuda" ? 8192 : 512);
}
