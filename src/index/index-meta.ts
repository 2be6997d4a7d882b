/**
 * What an index remembers about the model its vectors come from: the object
 * `_meta.csplade` of its mapping. Vectors of two models must never mix, so
 * every write and every query is checked against it.
 */
import { z } from "zod";
import {
  vectorRecord,
  htmlRecord,
  pruningSchema,
  type Pruning,
} from "../config/document-identity.js";
import type { Config } from "../config/settings.js";
import { CspladeError } from "../errors/csplade-error.js";
import type { NewMember } from "../json/json-object.js";
import { featuresJson, fromFeatures, type Features } from "../sparse/features.js";
import { mapVector, readIdMap, type IdMap } from "../sparse/id-map.js";

/** The model of an index: the parts of a checkpoint's manifest that its vectors depend on. */
export interface IndexModel {
  /** 16 hex digits naming the weight space. */
  readonly fingerprint: string;
  /** Name for people. */
  readonly name: string;
  readonly variant: "bi" | "echo" | "causal";
  /** Rows of the vocabulary: a feature name is the decimal id of one, or of a hashed word. */
  readonly vocabulary_size: number;
  /** Dimensions of the dense vectors that the checkpoint gives too, where it does. */
  readonly dense_dimension?: number;
}

/** How long documents are kept: setting `ingest.passages`. */
export type PassagesMode = Config["ingest.passages"];

/** Field of the vectors (in `nested` mode inside each object of {@link PASSAGES_FIELD}). */
export const VECTOR_FIELD = "csplade";

/** Field of the nested passages. */
export const PASSAGES_FIELD = "csplade_passages";

/** Field of the vectors in their own numbering, in an index for approximate search. */
export const ANN_FIELD = "csplade_ann";

/** Field of a document's dense vector, in an index that has them. */
export const DENSE_FIELD = "csplade_dense";

/**
 * Field that only a document with its vector has whole, in an index that keeps vectors out of
 * `_source`: the part {@link SEALED_PART} is kept out as well, so that what the cluster makes of
 * `_source` alone (an update action of a bulk request, which no ingest pipeline sees) is no valid
 * `geo_point` and is refused, instead of replacing the document by one that has no vector.
 */
export const SEAL_FIELD = "csplade_seal";

/** The part of {@link SEAL_FIELD} that `_source` lacks. */
export const SEALED_PART = `${SEAL_FIELD}.lat`;

/** What a document with its vector says in {@link SEAL_FIELD}. */
export const WHOLE_SEAL = { lat: 0, lon: 0 } as const;

/**
 * Newest `format` of `_meta.csplade` objects that this version knows. 2 has a mean length, 3 has fields
 * of HTML, 4 has a factor of added terms, 5 has dense vectors: an earlier version would weigh words without
 * the first, encode the markup of the second, add all that a model adds, and leave the last out, so it must
 * refuse the index.
 */
const FORMAT = 5;

const metaSchema = z.object({
  format: z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4), z.literal(FORMAT)]),
  fingerprint: z.string().regex(/^[0-9a-f]{16}$/),
  model: z.string().min(1),
  variant: z.enum(["bi", "echo", "causal"]),
  vocabulary_size: z.number().int().min(1),
  field: z.literal(VECTOR_FIELD),
  passages: z.enum(["merged", "nested", "documents"]),
  text_fields: z.array(z.string().min(1)).min(1),
  /** {@link IndexPlan.html_fields}. */
  html_fields: z.array(z.string().min(1)).readonly().optional(),
  title_field: z.string().min(1),
  /** Field that gave the documents their ids, and how their vectors were cut; older indices lack both. */
  id_field: z.string().min(1).optional(),
  pruning: pruningSchema.optional(),
  /** {@link IndexPlan.expansion}. */
  expansion: z.number().min(0).max(1).optional(),
  /** {@link IndexPlan.dense}. */
  dense: z.literal(true).optional(),
  /** An index for approximate search: its second vector field and its numbering of token ids. */
  ann: z.object({ field: z.literal(ANN_FIELD), ids: z.string() }).optional(),
  /** Whether `_source` holds the vectors. */
  store_vectors: z.boolean().default(true),
  /** {@link IndexPlan.mean_length}. */
  mean_length: z.number().int().min(1).optional(),
  /**
   * Where the guard pipeline is, in an index that csplade made: its default one, which whoever writes a
   * document as it is to be stored leaves out by name (`_none`). In others it is the final one.
   */
  guard: z.literal("default_pipeline").optional(),
  /** Version of csplade that created the index. */
  created_by: z.string(),
});

/** A validated `_meta.csplade`. */
export type IndexMeta = z.infer<typeof metaSchema>;

/** What decides the meaning of the vectors in an index. */
export interface IndexPlan {
  readonly model: IndexModel;
  readonly passages: PassagesMode;
  readonly text_fields: readonly string[];
  /** Text fields that hold HTML, of which the text is encoded; none where it is left out. */
  readonly html_fields?: readonly string[] | undefined;
  readonly title_field: string;
  /** Field that gives documents their ids, where it is known. */
  readonly id_field?: string;
  /** How vectors are cut, where it is known. */
  readonly pruning?: Pruning;
  /** Factor of the terms that the model adds to documents, 0 to 1; 1 where it is left out. */
  readonly expansion?: number | undefined;
  /** Documents have a dense vector too, in {@link DENSE_FIELD}; they have none where it is left out. */
  readonly dense?: boolean | undefined;
  /** Numbering of token ids in {@link ANN_FIELD}, where the index has that field. */
  readonly ann?: IdMap;
  /**
   * Keep vectors in `_source` (the default). Without them the index is half as large, but nothing
   * can be copied out of it: updates and `_reindex` are refused, and whoever needs a vector again
   * encodes the text again.
   */
  readonly store_vectors?: boolean;
  /**
   * Mean length of the documents' texts, in words that count for a model's lexical part. It is
   * estimated from the first documents before the index is made and never changes: whoever writes
   * into the index weighs words by it. Without it words weigh as in indices of earlier versions.
   */
  readonly mean_length?: number;
  /**
   * Set where csplade's own writes pass no ingest pipeline. One that runs, even one that only looks,
   * makes the cluster build the document anew: digits are lost, and the order of fields.
   */
  readonly guard?: "default_pipeline";
}

/** The `_meta.csplade` object for a plan. */
export function metaOf(plan: IndexPlan, version: string): IndexMeta {
  const { expansion, dense } = vectorRecord(plan);
  return {
    format: formatOf(plan),
    fingerprint: plan.model.fingerprint,
    model: plan.model.name,
    variant: plan.model.variant,
    vocabulary_size: plan.model.vocabulary_size,
    field: VECTOR_FIELD,
    passages: plan.passages,
    text_fields: [...plan.text_fields],
    ...htmlRecord(plan),
    title_field: plan.title_field,
    ...(plan.id_field === undefined ? {} : { id_field: plan.id_field }),
    ...(plan.pruning === undefined ? {} : { pruning: plan.pruning }),
    ...(expansion === undefined ? {} : { expansion }),
    ...(dense === true ? { dense } : {}),
    store_vectors: plan.store_vectors !== false,
    ...(plan.mean_length === undefined ? {} : { mean_length: plan.mean_length }),
    ...(plan.guard === undefined ? {} : { guard: plan.guard }),
    created_by: `csplade ${version}`,
  };
}

/** The oldest format that says all of a plan, for the sake of earlier versions. */
function formatOf(plan: IndexPlan): IndexMeta["format"] {
  const { expansion, dense } = vectorRecord(plan);
  if (dense === true) return FORMAT;
  if (expansion !== undefined) return 4;
  if ("html_fields" in htmlRecord(plan)) return 3;
  return plan.mean_length === undefined ? 1 : 2;
}

/** The plan an index was created with. */
export function planOf(meta: IndexMeta): IndexPlan {
  return {
    model: {
      fingerprint: meta.fingerprint,
      name: meta.model,
      variant: meta.variant,
      vocabulary_size: meta.vocabulary_size,
    },
    passages: meta.passages,
    text_fields: meta.text_fields,
    ...htmlRecord(meta),
    title_field: meta.title_field,
    ...(meta.id_field === undefined ? {} : { id_field: meta.id_field }),
    ...(meta.pruning === undefined ? {} : { pruning: meta.pruning }),
    ...vectorRecord(meta),
    ...(meta.ann === undefined ? {} : { ann: readIdMap(meta.ann.ids) }),
    ...(meta.store_vectors ? {} : { store_vectors: false }),
    ...(meta.mean_length === undefined ? {} : { mean_length: meta.mean_length }),
    ...(meta.guard === undefined ? {} : { guard: meta.guard }),
  };
}

/** True for the names of fields that csplade writes and nobody else may. */
export function isOurField(name: string): boolean {
  return name === VECTOR_FIELD || name.startsWith(`${VECTOR_FIELD}_`);
}

/** The features in the vector field of a document or passage, if it has one. */
export function storedFeatures(holder: object): Readonly<Record<string, unknown>> | undefined {
  const features: unknown = Reflect.get(holder, VECTOR_FIELD);
  return features === null || typeof features !== "object" ? undefined : { ...features };
}

/** The field of a document for approximate search, if its vector (as JSON) has a term. */
export function mappedFeatures(features: string | undefined, ids: IdMap): readonly NewMember[] {
  if (features === undefined) return [];
  const { vector } = mapVector(fromFeatures(JSON.parse(features) as Features), ids);
  // An empty one would be refused: such a document is simply not found approximately.
  return vector.ids.length === 0 ? [] : [[ANN_FIELD, featuresJson(vector)]];
}

/**
 * Checks a `_meta.csplade` object.
 * @throws CspladeError `index_invalid` if it is of another format or damaged.
 */
export function parseMeta(raw: unknown, index: string): IndexMeta {
  const parsed = metaSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const format = z.object({ format: z.number() }).safeParse(raw);
  if (format.success && format.data.format > FORMAT) {
    throw new CspladeError(
      "index_invalid",
      `The index ${index} was written by a newer csplade (format ${format.data.format}; this one knows ${FORMAT}).`,
      { hint: "Upgrade csplade." },
    );
  }
  const issue = parsed.error.issues[0];
  throw new CspladeError(
    "index_invalid",
    `The index ${index} has a _meta.csplade that cannot be read: ${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`.trim() +
      ".",
    { hint: "Somebody changed the mapping's _meta; reindex into a new index." },
  );
}

/** Names a model in a sentence: `csplade-smollm2-135m (fingerprint 0123456789abcdef)`. */
export function modelPhrase(model: Pick<IndexModel, "name" | "fingerprint">): string {
  return `${model.name} (fingerprint ${model.fingerprint})`;
}

/**
 * Checks that an index may be used with a model.
 * @throws CspladeError `model_mismatch` naming both models and what to do.
 */
export function demandSameModel(found: IndexModel, wanted: IndexModel, index: string): void {
  if (found.fingerprint === wanted.fingerprint) return;
  throw new CspladeError(
    "model_mismatch",
    `The index ${index} holds vectors of the model ${modelPhrase(found)}, ` +
      `but the model in use is ${modelPhrase(wanted)}: their weights cannot be compared.`,
    {
      hint:
        `Use the checkpoint of ${found.name} (CSPLADE_MODEL), or write to a new index; ` +
        `csplade reindex encodes the documents of ${index} again for ${wanted.name}.`,
    },
  );
}

/** @throws CspladeError `model_mismatch` for a checkpoint without dense vectors. */
export function demandDense(model: IndexModel, index: string): number {
  if (model.dense_dimension !== undefined) return model.dense_dimension;
  throw new CspladeError(
    "model_mismatch",
    `The documents of ${index} have dense vectors (document.dense), and the checkpoint ${model.name} gives none.`,
    {
      hint: "Use one whose manifest.json has dense, such as csplade-minilm-words, or leave document.dense out.",
    },
  );
}

/**
 * Checks that documents written under a plan fit what is in the index.
 * @throws CspladeError `model_mismatch`, or `index_invalid` if passages are kept another way.
 */
export function demandSamePlan(found: IndexPlan, wanted: IndexPlan, index: string): void {
  demandSameModel(found.model, wanted.model, index);
  if (found.dense === true) demandDense(wanted.model, index);
  if (found.passages === wanted.passages) return;
  throw new CspladeError(
    "index_invalid",
    `The index ${index} keeps passages as "${found.passages}", but ingest.passages is "${wanted.passages}".`,
    { hint: `Set CSPLADE_PASSAGES=${found.passages}, or write to a new index.` },
  );
}
