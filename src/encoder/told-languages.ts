/** Which languages a checkpoint's texts are told apart by: those of its manifest, unless a setting says no. */
import type { Config } from "../config/settings.js";
import type { Manifest } from "./manifest.js";

/** The languages that a checkpoint's texts are told apart by; nothing where all get its terms. */
export function toldLanguages(
  { languages }: Pick<Manifest, "languages">,
  config: Config,
): readonly string[] | undefined {
  const told = config["model.other_languages"] === "words" && languages?.length !== 0;
  return told ? languages : undefined;
}
