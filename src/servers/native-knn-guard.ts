/**
 * A plugin for the embedded OpenSearch. Maven has the k-NN plugin without its native library, and
 * the first vector that reaches faiss or nmslib without one ends the node. The guard refuses such a
 * field where its mapping is read: at the creation of an index, a change of a mapping, a template.
 * It is compiled when a distribution is assembled, against that distribution's own jars.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { zipSync } from "fflate";
import { CspladeError } from "../errors/csplade-error.js";
import type { DistributionLock } from "./distribution-lock.js";
import type { Java } from "./java.js";
import { pluginDescriptor } from "./plugin-descriptor.js";
import { runProgram } from "./program.js";

const className = "NativeKnnGuard";
const name = "csplade-native-knn-guard";
const compileDeadlineMs = 120_000;

/** Source of the plugin. Every mapping of a `knn_vector` field is resolved and validated by its engine's library. */
export const nativeKnnGuard = `import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.Set;
import org.opensearch.knn.index.engine.KNNEngine;
import org.opensearch.knn.index.engine.KNNLibrary;
import org.opensearch.plugins.Plugin;

public class ${className} extends Plugin {
  private static final Set<String> BEFORE_USE = Set.of("resolveMethod", "validateMethod");

  public ${className}() throws ReflectiveOperationException {
    refuse(KNNEngine.FAISS);
    refuse(KNNEngine.NMSLIB);
  }

  private static void refuse(KNNEngine engine) throws ReflectiveOperationException {
    Field field = KNNEngine.class.getDeclaredField("knnLibrary");
    field.setAccessible(true);
    Object library = field.get(engine);
    String sentence = "The OpenSearch that csplade up starts has no native library for the k-NN engine "
        + engine.getName() + " (faiss is the default): give the knn_vector field a method of the engine "
        + "lucene, or use another OpenSearch.";
    field.set(engine, Proxy.newProxyInstance(
        ${className}.class.getClassLoader(),
        new Class<?>[] {KNNLibrary.class},
        (proxy, method, arguments) -> {
          if (BEFORE_USE.contains(method.getName())) throw new IllegalArgumentException(sentence);
          try {
            return method.invoke(library, arguments);
          } catch (InvocationTargetException failed) {
            throw failed.getCause();
          }
        }));
  }
}
`;

/**
 * Compiles the guard into a distribution that is being assembled.
 * @param folder of the distribution, with its jars and plugins in place.
 * @throws CspladeError `server_failed`, and what running Java throws.
 */
export async function addNativeKnnGuard(
  folder: string,
  lock: DistributionLock,
  java: Java,
): Promise<void> {
  const compiler = lock.artifacts.find(({ to }) => to === "compiler");
  if (compiler === undefined) {
    throw new CspladeError(
      "server_failed",
      `No compiler is listed for OpenSearch ${lock.version}.`,
    );
  }
  const plugin = path.join(folder, "plugins", name);
  const scratch = await mkdtemp(path.join(folder, ".guard-"));
  try {
    const source = path.join(scratch, `${className}.java`);
    await writeFile(source, nativeKnnGuard);
    const jars = [
      ...(await jarsOf(folder, "lib")),
      ...(await jarsOf(folder, "plugins/opensearch-knn")),
    ];
    // The compiler of a JDK would do, but the downloaded Java has none.
    const end = await runProgram(
      java.program,
      [
        "-jar",
        path.join(folder, compiler.to, compiler.file),
        "-proc:none",
        "-nowarn",
        ...["-source", String(lock.java.min), "-target", String(lock.java.min)],
        ...["-classpath", jars.join(path.delimiter)],
        ...["-d", scratch],
        source,
      ],
      { deadlineMs: compileDeadlineMs },
    );
    if (end.status !== 0) {
      throw new CspladeError(
        "server_failed",
        `The guard against native k-NN engines cannot be compiled for OpenSearch ${lock.version}: ${end.output.trim()}`,
      );
    }
    const classes = (await readdir(scratch)).filter((file) => file.endsWith(".class"));
    const entries = classes.map(
      async (file) => [file, await readFile(path.join(scratch, file))] as const,
    );
    await mkdir(plugin);
    await writeFile(
      path.join(plugin, `${name}.jar`),
      zipSync(Object.fromEntries(await Promise.all(entries))),
    );
    await writeFile(
      path.join(plugin, "plugin-descriptor.properties"),
      pluginDescriptor(lock, { name, classname: className, extends: ["opensearch-knn"] }),
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function jarsOf(folder: string, part: string): Promise<string[]> {
  const files = await readdir(path.join(folder, part));
  return files.filter((file) => file.endsWith(".jar")).map((file) => path.join(folder, part, file));
}
