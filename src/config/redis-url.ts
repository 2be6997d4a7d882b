/** Where Redis is, as one URL: a server, a Cluster by some of its nodes, or a primary behind Sentinels. */

import { z } from "zod";

/** A parsed Redis URL. */
export interface RedisPlace {
  readonly kind: "standalone" | "cluster" | "sentinel";
  readonly tls: boolean;
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: string;
  /** Name that the Sentinels know the primary by. */
  readonly primary?: string;
  readonly database: number;
  /** Password of the Sentinels themselves. */
  readonly sentinelPassword?: string;
}

const URL_SHAPE =
  /^(rediss?)(?:\+(cluster|sentinel))?:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?#@]+)(?:\/([^?#]*))?(?:\?(.*))?$/;

/** Reads a URL as the setting `redis.url` takes it; undefined if it is none. */
export function parseRedisUrl(url: string): RedisPlace | undefined {
  const match = URL_SHAPE.exec(url);
  if (match === null) return undefined;
  const [, scheme, mode, username = "", password = "", hosts = "", path = "", query = ""] = match;
  const kind = mode === "cluster" || mode === "sentinel" ? mode : "standalone";
  const fallback = kind === "sentinel" ? 26_379 : 6_379;
  const nodes = hosts.split(",").map((host) => {
    const [, name = "", port] = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(host) ?? [];
    return { host: name.replace(/^\[|\]$/g, ""), port: Number(port ?? fallback) };
  });
  if (nodes.some(({ host, port }) => host === "" || port > 65_535)) return undefined;
  if (kind === "standalone" && nodes.length > 1) return undefined;
  const [primary = "", number = ""] = kind === "sentinel" ? path.split("/") : ["", path];
  if (!/^\d*$/.test(number) || (kind === "sentinel" && primary === "")) return undefined;
  const sentinelPassword = new URLSearchParams(query).get("sentinel_password");
  try {
    return {
      kind,
      tls: scheme === "rediss",
      nodes,
      database: Number(number),
      ...(username === "" ? {} : { username: decodeURIComponent(username) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
      ...(primary === "" ? {} : { primary }),
      ...(sentinelPassword === null ? {} : { sentinelPassword }),
    };
  } catch {
    return undefined;
  }
}

/** The prefix of all keys: in a Cluster the keys of a queue must be on one node, so it is a hash tag. */
export function keyPrefixOf(url: string, prefix: string): string {
  return parseRedisUrl(url)?.kind === "cluster" && !/\{[^}]+\}/.test(prefix)
    ? `{${prefix}}`
    : prefix;
}

/** Schema of a Redis URL. */
export const redisUrl = z
  .string()
  .refine(
    (text) => parseRedisUrl(text) !== undefined,
    "must be a URL such as redis://127.0.0.1:6390, redis+cluster://a:6379,b:6379 or redis+sentinel://a:26379,b:26379/mymaster",
  );

/** Schema of a prefix of keys. */
export const redisPrefix = z.string().regex(/^[\w{}-]{1,64}$/);
