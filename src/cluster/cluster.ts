/**
 * The one door to OpenSearch and Elasticsearch: a connection, plain requests
 * over the official client's transport, and what the cluster says it can do.
 */
import { readFileSync } from "node:fs";
import { Client } from "@opensearch-project/opensearch";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { awsSigning } from "./aws-signing.js";
import { clusterOf, type Cluster } from "./client-cluster.js";
import { joinedCluster } from "./joined-cluster.js";

export type { Cluster } from "./client-cluster.js";

/**
 * Connects lazily: nothing is sent before the first request.
 * @throws CspladeError `config_invalid` for an unreadable `opensearch.ca_file`.
 */
export function connectCluster(config: Config): Cluster {
  const target = new URL(config["opensearch.url"]);
  const username = config["opensearch.username"] ?? decodeURIComponent(target.username);
  const password = config["opensearch.password"] ?? decodeURIComponent(target.password);
  const apiKey = config["opensearch.api_key"];
  target.username = "";
  target.password = "";
  const url = target.href.replace(/\/$/, "");
  const caFile = config["opensearch.ca_file"];
  const signing = awsSigning(config);
  const client = new Client({
    ...signing,
    node: url,
    maxRetries: 0,
    requestTimeout: config["opensearch.request_timeout_ms"],
    ...(username !== "" && apiKey === undefined ? { auth: { username, password } } : {}),
    ...(apiKey === undefined ? {} : { headers: { authorization: `ApiKey ${apiKey}` } }),
    ...(caFile === undefined ? {} : { ssl: { ca: readCa(caFile) } }),
  });
  return clusterOf(client, {
    url,
    requestTimeoutMs: config["opensearch.request_timeout_ms"],
    close: () => client.close(),
  });
}

/**
 * As {@link connectCluster}; with `source.url` joined with the cluster that is read, whose credentials and
 * authority are its own.
 */
export function connectWithSource(config: Config): Cluster {
  const url = config["source.url"];
  if (url === undefined) return connectCluster(config);
  const source: Config = {
    ...config,
    "opensearch.url": url,
    "opensearch.username": config["source.username"],
    "opensearch.password": config["source.password"],
    "opensearch.api_key": config["source.api_key"],
    "opensearch.aws_region": config["source.aws_region"],
    "opensearch.ca_file": config["source.ca_file"],
  };
  return joinedCluster(connectCluster(config), connectCluster(source));
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new CspladeError(
      "config_invalid",
      `opensearch.ca_file ${file} cannot be read: ${messageOf(cause)}`,
      { cause },
    );
  }
}
