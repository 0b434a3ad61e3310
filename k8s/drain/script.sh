#!/bin/sh
# Yours. Reads INPUT_FILE, writes files to OUTPUT_DIR; what it leaves there is published when it exits with 0, all or nothing.
set -eu
wc -w <"$INPUT_FILE" >"$OUTPUT_DIR/words"
sha256sum <"$INPUT_FILE" >"$OUTPUT_DIR/sha256"
echo "counted $(cat "$OUTPUT_DIR/words") words of $WORK_ITEM_NAME"
