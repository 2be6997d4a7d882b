/** `npm run settings`: writes the page of settings and the schema of csplade.yaml (`test/support/settings-files.ts`). */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../dist/src/config/package-root.js";
import { settingsFiles } from "../dist/test/support/settings-files.js";

for (const [file, content] of await settingsFiles()) {
  writeFileSync(path.join(packageRoot, file), content);
}
