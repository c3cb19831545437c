#!/usr/bin/env bash
# A day's work with curl: bash examples/curl.sh examples/data/movie_reviews_demo.csv
set -euo pipefail
file=${1:?a CSV file with the columns text and label}
url=${ADAMSS_URL:-http://127.0.0.1:${ADAMSS_PORT:-8642}}
key=${ADAMSS_API_KEY:-$(cat "${ADAMSS_HOME:-data}/api_key")}

call() { curl -fsS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; value = json.load(sys.stdin)
for name in sys.argv[1].split("."): value = value[name]
print(value)' "$1"; }

echo "models";   call "$url/models"; echo
dataset=$(call -F "file=@$file" "$url/datasets" | field id)
echo "data set $dataset"

spec='{
  "name": "from-curl", "base_model": "minilm", "dataset": {"train": "'$dataset'"},
  "adamss": {"num_subspaces": 10, "target_modules": ["query", "value"], "use_asa": true, "asa_target_subspaces": 60,
             "init_warmup": "auto", "final_warmup": "auto", "mask_interval": "auto"},
  "training": {"epochs": 1, "learning_rate": 0.01}, "artifacts": ["adapter", "lora"]
}'
echo "estimate"; call --json "$spec" "$url/jobs?dry_run=true"; echo

# Sent again with the same key, it is still one job.
job=$(call --json "$spec" -H "Idempotency-Key: $dataset" "$url/jobs" | field id)
echo "job $job"

until status=$(call "$url/jobs/$job" | field status) && [[ $status =~ ^(succeeded|failed|cancelled)$ ]]; do sleep 1; done
echo "$status"
call "$url/jobs/$job/metrics?max_points=5"; echo
call "$url/jobs/$job/subspaces" | field active
call "$url/jobs/$job/artifacts" | field object
zip=$job-lora.zip  # a name of its own: -C - goes on with the part that an earlier try has left
call -o "$zip" -C - "$url/jobs/$job/artifacts/lora"
ls -l "$zip"
call "$url/jobs/$job/artifacts" | python3 -c 'import hashlib, json, sys
known = {entry["name"]: entry["sha256"] for entry in json.load(sys.stdin)["data"]}
assert hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() == known["lora"], "damaged on the way"' "$zip"
[[ $status == succeeded ]]
