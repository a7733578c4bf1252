# shellcheck shell=bash
# Sourced by recipes without stages.

# A binary data set of fairseq, there whole or not at all: fairseq-preprocess refuses a folder that it has begun before.
binary_data() { # folder, file for what it says, then the options of fairseq-preprocess
    local folder=$1 log=$2 status=0
    shift 2
    rm -rf "$folder.part" "$folder"
    fairseq-preprocess "$@" --destdir "$folder.part" >"$log" 2>&1 || status=$?
    if ((status)); then
        echo "$(basename "$0" .sh): error: fairseq-preprocess failed: $(tail -n 1 "$log"), see $log" >&2
        exit "$status"
    fi
    mv "$folder.part" "$folder"
}
