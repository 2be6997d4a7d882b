/** A real headless Chromium, where the machine has one. */
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { chromium, type Browser } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser's program: `CHROME_PATH`, or what is on the PATH; undefined if there is none. */
export function findChromium(): string | undefined {
  const given = process.env.CHROME_PATH;
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter((each) => each !== "");
  const places = folders.flatMap((folder) => NAMES.map((name) => path.join(folder, name)));
  return [...(given === undefined ? [] : [given]), ...places].find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Starts it. */
export async function startChromium(program: string): Promise<Browser> {
  return await chromium.launch({
    executablePath: program,
    timeout: 120_000,
    // Chromium's sandbox needs rights that containers and root lack; the pages are our own.
    chromiumSandbox: false,
    args: ["--disable-dev-shm-usage", "--disable-gpu"],
  });
}
