# Says what markers (_SUCCESS.json) stand for, a line each: key, codec, frames, images, attempt, separated by tabs.
# `LC_ALL=C awk -f json.awk -f outputs.awk thumbnails/*/_SUCCESS.json`

BEGIN {
    for (n = 1; n < ARGC; n++) {
        read_json(ARGV[n])
        printf "%s\t%s\t%d\t%d\t%s\n", V["item.key"], V["result.codec"], V["result.frames"], V["outputs.length"], V["attempt"]
    }
    exit
}
