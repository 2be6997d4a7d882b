/** Whether a Redis that cannot be reached shows a certificate that is not trusted: no waiting mends that. */
import { isIP } from "node:net";
import { connect } from "node:tls";
import type { RedisPlace } from "../config/redis-url.js";
import { CspladeError } from "../errors/csplade-error.js";

/** How long a handshake may take, milliseconds. */
const HANDSHAKE_MS = 5_000;

type Handshake =
  | { readonly outcome: "trusted" | "silent" }
  | { readonly outcome: "distrusted"; readonly node: string; readonly cause: Error };

/**
 * Shakes hands with the nodes of a place that speaks TLS, without a word of Redis.
 * @returns what to throw where some show certificates that are not trusted and none shows one that is;
 *   nothing where it may be a failover that ends.
 */
export async function certificateRefusal(place: RedisPlace): Promise<CspladeError | undefined> {
  if (!place.tls) return undefined;
  const hands = await Promise.all(place.nodes.map((node) => shakeHands(node)));
  const distrusted = hands.find((each) => each.outcome === "distrusted");
  if (distrusted === undefined || hands.some(({ outcome }) => outcome === "trusted")) {
    return undefined;
  }
  const { node, cause } = distrusted;
  return new CspladeError(
    "queue_unreachable",
    `The certificate of Redis at ${node} is not trusted: ${cause.message}`,
    {
      cause,
      hint: "Name the certificate (PEM) of the authority that signed it in NODE_EXTRA_CA_CERTS, and the host in REDIS_URL as the certificate does.",
    },
  );
}

function shakeHands({ host, port }: RedisPlace["nodes"][number]): Promise<Handshake> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}) });
    const end = (hand: Handshake): void => {
      socket.destroy();
      resolve(hand);
    };
    socket.setTimeout(HANDSHAKE_MS, () => end({ outcome: "silent" }));
    socket.once("secureConnect", () => end({ outcome: "trusted" }));
    socket.on("error", (cause: Error) => {
      // Set only where it was the certificate that failed.
      const isCertificate = Boolean(socket.authorizationError);
      end(
        isCertificate
          ? { outcome: "distrusted", node: `${host}:${port}`, cause }
          : { outcome: "silent" },
      );
    });
  });
}
