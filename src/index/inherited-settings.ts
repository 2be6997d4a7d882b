/**
 * What a new index takes over from the index whose documents are copied into it, and why:
 * the mapping of a source may depend on any of these settings, and its owner chose them.
 */

/** The `index` object of an index's settings, as the cluster gives it (not flat). */
export type IndexSettings = Readonly<Record<string, unknown>>;

/**
 * Settings that a copy has as its source has them, by their path below `index`; a path means all
 * that is below it. Left out is what tells one index from another (`uuid`), what is not the index's
 * own choice (blocks, `resize`, policies of its lifecycle), and ingest pipelines, through which the
 * documents went already.
 */
/** What mappings depend on. */
const MEANING = [
  "analysis",
  "similarity",
  "mapping",
  "max_ngram_diff",
  "max_shingle_diff",
  "knn",
  "sparse",
  "sort",
  "routing_partition_size",
  "number_of_routing_shards",
] as const;

const INHERITED = [
  ...MEANING,
  // What searches and writes depend on.
  "analyze",
  "codec",
  "highlight",
  "indexing.slowlog",
  "max_adjacency_matrix_filters",
  "max_docvalue_fields_search",
  "max_inner_result_window",
  "max_regex_length",
  "max_rescore_window",
  "max_result_window",
  "max_script_fields",
  "max_slices_per_scroll",
  "max_terms_count",
  "merge",
  "queries",
  "query",
  "requests",
  "search.default_pipeline",
  "search.idle",
  "search.slowlog",
  "translog",
  // Where it lies, and how often.
  "auto_expand_replicas",
  "gc_deletes",
  "hidden",
  "number_of_replicas",
  "priority",
  "refresh_interval",
  "replication",
  "routing.allocation.exclude",
  "routing.allocation.include",
  "routing.allocation.require",
  "routing.allocation.total_shards_per_node",
  "unassigned",
] as const;

/** Room for csplade's own fields below `mapping.total_fields.limit`. */
const OUR_FIELDS = 20;

/** Fields an index may have where nothing is set. */
const DEFAULT_FIELDS = 1_000;

/**
 * What a copy takes over from an index of another cluster: what its mapping depends on. Where shards lie,
 * how they are packed and which pipelines there are is that cluster's own.
 */
export function meaningOf(
  source: IndexSettings,
  mappings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return taken(MEANING, source, mappings);
}

/** The settings a copy takes over, as an `index` object. */
export function inheritedSettings(
  source: IndexSettings,
  mappings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return taken(INHERITED, source, mappings);
}

function taken(
  paths: readonly string[],
  source: IndexSettings,
  mappings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const path of paths) {
    const value = settingAt(source, path);
    if (value !== undefined) settings[path] = value;
    // A setting may have a value and others below its name: `knn` and `knn.derived_source.enabled`.
    for (const [name, below] of Object.entries(source)) {
      if (name.startsWith(`${path}.`)) settings[name] = below;
    }
  }
  return withRoom(settings, mappings);
}

/** An index that is full with its own fields has room for ours. */
function withRoom(
  settings: Record<string, unknown>,
  mappings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const set = Number(settingAt(settings, "mapping.total_fields.limit") ?? Number.NaN);
  const limit = Number.isFinite(set) ? set : DEFAULT_FIELDS;
  if (countFields(mappings.properties) + OUR_FIELDS <= limit) return settings;
  const mapping = isObject(settings.mapping) ? settings.mapping : {};
  const total = isObject(mapping.total_fields) ? mapping.total_fields : {};
  const raised = { ...total, limit: limit + OUR_FIELDS };
  return { ...settings, mapping: { ...mapping, total_fields: raised } };
}

/** Fields, objects and multi-fields, as the cluster counts them. */
function countFields(properties: unknown): number {
  if (!isObject(properties)) return 0;
  let count = 0;
  for (const field of Object.values(properties)) {
    count += 1;
    if (isObject(field)) count += countFields(field.properties) + countFields(field.fields);
  }
  return count;
}

/** The value at a dotted path: names of settings may stand whole or in objects. */
export function settingAt(settings: IndexSettings, path: string): unknown {
  if (Object.hasOwn(settings, path)) return settings[path];
  const dot = path.indexOf(".");
  if (dot === -1) return undefined;
  const inner = settings[path.slice(0, dot)];
  return isObject(inner) ? settingAt(inner, path.slice(dot + 1)) : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
