import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

/**
 * The folder that holds this package's `package.json`, and beside it `mappings/`,
 * `pipelines/` and `models/`, whether the code runs from `dist/` or was installed.
 */
export const packageRoot: string = (() => {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, "package.json"))) {
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error("csplade's package.json is missing above its code");
    folder = parent;
  }
  return folder;
})();

/** How people call csplade from where it lies: in a clone it is not on the path. */
export const calledBy: string = existsSync(path.join(packageRoot, "tsconfig.json"))
  ? "npm run csplade --"
  : "csplade";

/** This package's version. */
export const packageVersion: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8"))).version;
