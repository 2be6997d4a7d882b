#!/bin/sh
# One partition of a Kafka topic into a csplade index, in batches: a CronJob or a loop calls it.
# Messages are JSON objects on one line. Needs kcat.
#
#   BROKERS=kafka:9092 TOPIC=documents PARTITION=0 INDEX=documents STATE=/var/lib/csplade-kafka \
#     ./kafka-ndjson.sh [further options of csplade ingest]
#
# The place in the topic is kept in STATE and moved only when the batch is in the index. A batch that
# was cut off is read again; documents that are there already are recognised and not encoded again.
# Of several messages with one _id in a batch the last one is taken.
set -eu
: "${BROKERS:?}" "${TOPIC:?}" "${PARTITION:?}" "${INDEX:?}" "${STATE:?}"
MOST=${MOST:-50000}
place="$STATE/$TOPIC-$PARTITION.offset"
batch="$STATE/$TOPIC-$PARTITION.ndjson"
read_from=beginning
[ ! -s "$place" ] || read_from=$(cat "$place")

# Offset, tab, key, tab, value. -e ends at the end of the partition.
kcat -C -q -e -b "$BROKERS" -t "$TOPIC" -p "$PARTITION" -o "$read_from" -c "$MOST" \
  -f '%o\t%k\t%s\n' >"$batch.raw"
[ -s "$batch.raw" ] || exit 0

# The newest message of each key, in the order of the topic. A deletion (an empty value) is left out:
# csplade ingest adds and changes, it does not delete.
awk -F '\t' '{ newest[$2 == "" ? $1 : $2] = NR } { line[NR] = $0 }
  END { for (n = 1; n <= NR; n++) { split(line[n], part, "\t")
          key = part[2] == "" ? part[1] : part[2]
          value = substr(line[n], length(part[1]) + length(part[2]) + 3)
          if (newest[key] == n && value != "") print value } }' "$batch.raw" >"$batch"

status=0
if [ -s "$batch" ]; then
  csplade ingest "$batch" --format ndjson --index "$INDEX" --quiet --json \
    --dead-letters "$STATE/dead-letters-$(date -u +%Y%m%dT%H%M%SZ)-$$.ndjson" "$@" || status=$?
fi
# 3: everything is in the index but what the dead-letter file holds; going on is right.
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit "$status"

last=$(tail -n 1 "$batch.raw" | cut -f 1)
printf '%s\n' "$((last + 1))" >"$place.new"
mv "$place.new" "$place"
rm -f "$batch" "$batch.raw"
exit "$status"
