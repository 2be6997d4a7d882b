/** The guard of an index: the ingest pipeline that keeps the vectors of other models out. */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { Cluster } from "../cluster/cluster.js";
import { pathOf, reasonOf } from "../cluster/request.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { IndexModel } from "./index-meta.js";
import { guardName, guardPipeline, type GuardPlace } from "./index-template.js";

/** Whose guard, and on whose behalf. */
interface GuardRequest {
  readonly model: IndexModel;
  readonly signal?: AbortSignal;
}

/** What `GET /<index>?flat_settings` says of indices. */
type FoundIndices = Readonly<
  Record<
    string,
    {
      readonly settings?: Readonly<Record<string, unknown>> | undefined;
      readonly mappings?:
        { readonly _meta?: { readonly csplade?: unknown } | undefined } | undefined;
    }
  >
>;

/** Installs the pipeline. @throws CspladeError `cluster_rejected` without the right to. */
export async function putGuard(
  cluster: Cluster,
  { model, signal }: GuardRequest,
  place: GuardPlace = "default_pipeline",
): Promise<void> {
  const name = guardName(model, place);
  const answer = await cluster.send({
    method: "PUT",
    path: pathOf("_ingest", "pipeline", name),
    body: guardPipeline(model, place),
    ...(signal === undefined ? {} : { signal }),
  });
  if (answer.status < 400) return;
  throw new CspladeError(
    "cluster_rejected",
    `Installing the ingest pipeline ${name}: ${cluster.url} answered ${answer.status}: ${reasonOf(answer.body)}`,
    {
      hint: "It keeps vectors of other models out of the index. Grant the right to manage ingest pipelines, or switch the guard off.",
    },
  );
}

/**
 * An index whose guard pipeline was deleted refuses documents: puts it back. One of an older version
 * is replaced, if that is allowed.
 */
export async function restoreGuard(
  cluster: Cluster,
  request: GuardRequest,
  found: FoundIndices,
): Promise<void> {
  const settings = Object.values(found).map((index) => index.settings ?? {});
  for (const place of ["default_pipeline", "final_pipeline"] as const) {
    const name = guardName(request.model, place);
    if (!settings.some((index) => index[`index.${place}`] === name)) continue;
    const answer = await cluster.send({
      method: "GET",
      path: pathOf("_ingest", "pipeline", name),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    if (answer.status === 404) await putGuard(cluster, request, place);
    else if (answer.status < 400 && !isCurrent(answer.body, name, request.model, place)) {
      await putGuard(cluster, request, place).catch(() => {});
    }
  }
}

function isCurrent(body: unknown, name: string, model: IndexModel, place: GuardPlace): boolean {
  const { processors } = guardPipeline(model, place);
  const schema = z.object({ [name]: z.object({ processors: z.array(z.unknown()) }) });
  const there = schema.safeParse(body).data?.[name]?.processors;
  return isDeepStrictEqual(there, processors);
}

/**
 * Makes the guard of an index of an older version its default pipeline, unless it has another one. As
 * its final pipeline it runs on csplade's own writes too, and the cluster builds each document anew.
 * @returns whether it was moved.
 */
export async function moveGuard(
  cluster: Cluster,
  { model, signal }: GuardRequest,
  found: FoundIndices,
): Promise<boolean> {
  const name = guardName(model);
  const [entry, ...more] = Object.entries(found);
  if (entry === undefined || more.length > 0) return false;
  const [index, { settings = {}, mappings }] = entry;
  if (settings["index.final_pipeline"] !== name) return false;
  if (settings["index.default_pipeline"] !== undefined) {
    await putGuard(
      cluster,
      { model, ...(signal === undefined ? {} : { signal }) },
      "final_pipeline",
    );
    const final_pipeline = guardName(model, "final_pipeline");
    await cluster.demand(
      { method: "PUT", path: pathOf(index, "_settings"), body: { index: { final_pipeline } } },
      `Naming the guard pipeline of ${index}`,
    );
    return false;
  }
  const { _meta = {} } = mappings ?? {};
  const csplade = { ...Object(_meta.csplade), guard: "default_pipeline" } as object;
  // The mark first: with it alone the guard runs on, and the next ingest finds it still to be moved.
  const changes = [
    { path: "_mapping", body: { _meta: { ..._meta, csplade } } },
    { path: "_settings", body: { index: { default_pipeline: name, final_pipeline: null } } },
  ];
  for (const { path, body } of changes) {
    await cluster.demand(
      {
        method: "PUT",
        path: pathOf(index, path),
        body,
        ...(signal === undefined ? {} : { signal }),
      },
      `Moving the guard pipeline of ${index}`,
    );
  }
  return true;
}
