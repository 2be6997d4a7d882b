/** Settings of the cluster that a reindexing reads from, where it is another one than it writes into. */
import { z } from "zod";
import type { Setting } from "./setting-schemas.js";

/** The settings, by their names; each means what `opensearch.…` of its name means. */
export const sourceSettings = {
  "source.url": {
    schema: z
      .url({ protocol: /^https?$/, error: "must be a URL such as https://old.example:9200" })
      .refine((text) => new URL(text).username === "" && new URL(text).password === "", {
        error: "must be without credentials (source.username, source.password, source.api_key)",
      })
      .optional(),
    env: "CSPLADE_SOURCE_URL",
    help: "The cluster that csplade reindex reads from, where it is another one (--from URL/INDEX says it too); workers need it as well.",
  },
  "source.username": {
    schema: z.string().optional(),
    env: "CSPLADE_SOURCE_USERNAME",
    help: "User for basic authentication there.",
  },
  "source.password": {
    schema: z.string().optional(),
    env: "CSPLADE_SOURCE_PASSWORD",
    help: "Password for basic authentication there.",
    secret: true,
  },
  "source.api_key": {
    schema: z.string().optional(),
    env: "CSPLADE_SOURCE_API_KEY",
    help: "Elasticsearch API key there.",
    secret: true,
  },
  "source.aws_region": {
    schema: z
      .string()
      .regex(/^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$/, "must be a region such as eu-central-1")
      .optional(),
    env: "CSPLADE_SOURCE_AWS_REGION",
    help: "Region of an Amazon OpenSearch domain there, whose requests are signed.",
  },
  "source.ca_file": {
    schema: z.string().optional(),
    env: "CSPLADE_SOURCE_CA_FILE",
    help: "PEM file of the authority that signed that cluster's certificate.",
  },
} as const satisfies Record<string, Setting>;
