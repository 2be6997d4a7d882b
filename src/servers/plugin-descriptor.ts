/** `plugin-descriptor.properties`: what OpenSearch reads of a module or plugin before it loads it. */
import type { DistributionLock } from "./distribution-lock.js";

/** The descriptor of a module or plugin of one version. */
export function pluginDescriptor(
  lock: DistributionLock,
  plugin: DistributionLock["modules"][number],
): string {
  return `description=${plugin.name}
name=${plugin.name}
version=${lock.version}
opensearch.version=${lock.version}
java.version=${lock.start === "node" ? 11 : lock.java.min}
classname=${plugin.classname}
extended.plugins=${plugin.extends.join(",")}
has.native.controller=false
`;
}
