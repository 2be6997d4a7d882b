/**
 * Requests signed with AWS Signature Version 4, for Amazon OpenSearch Service. The credentials are
 * those that AWS's own tools would find: environment, profile, the role of a Kubernetes service
 * account, of a container or of a machine. They are kept in memory until shortly before they expire.
 */
import type { ClientOptions } from "@opensearch-project/opensearch";
import { AwsSigv4Signer } from "@opensearch-project/opensearch/aws-v3";
import type { Config } from "../config/settings.js";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { withDeadline } from "../waiting/deadline.js";

/** An identity of AWS, as its SDK gives it. */
type Credentials = Awaited<
  ReturnType<NonNullable<Parameters<typeof AwsSigv4Signer>[0]["getCredentials"]>>
>;

/** Longest that finding credentials may take; a machine without any answers later than that. */
const CREDENTIALS_TIMEOUT_MS = 10_000;

/** What the client needs to sign; nothing without `opensearch.aws_region`. */
export function awsSigning(
  config: Pick<Config, "opensearch.aws_region" | "opensearch.aws_service">,
): Pick<ClientOptions, "Connection" | "Transport"> | undefined {
  const region = config["opensearch.aws_region"];
  if (region === undefined) return undefined;
  let provider: Promise<() => Promise<Credentials>> | undefined;
  const { Connection, Transport } = AwsSigv4Signer({
    region,
    service: config["opensearch.aws_service"],
    async getCredentials() {
      provider ??= defaultCredentials();
      try {
        const found = provider.then((credentials) => credentials());
        return await withDeadline(found, CREDENTIALS_TIMEOUT_MS, "Asking for AWS credentials");
      } catch (cause) {
        // It may pass, as when the service that gives out roles is away; so it is worth a repetition.
        throw new CspladeError(
          "cluster_unreachable",
          `No request can be signed for ${region}, AWS credentials are missing: ${messageOf(cause)}`,
          {
            cause,
            hint: "Give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the service account or machine a role.",
          },
        );
      }
    },
  });
  return { Connection, Transport };
}

/** AWS's chain of providers, which refreshes what expires. Loaded only where requests are signed. */
async function defaultCredentials(): Promise<() => Promise<Credentials>> {
  const { defaultProvider } = await import("@aws-sdk/credential-provider-node");
  return defaultProvider();
}
