# Writes a gallery as HTML from the markers (_SUCCESS.json) named as arguments, relative to where the page will lie:
#
#   LC_ALL=C awk -f json.awk -f gallery.awk thumbnails/*/_SUCCESS.json > index.html
#
# A reader of results needs nothing else: the marker is written last and names every file that belongs to the output, so
# what it does not name is not looked at. Names may hold anything; they are escaped for HTML and for URLs.

BEGIN {
    for (i = 1; i < 256; i++) ord[sprintf("%c", i)] = i
    page_head()
    for (n = 1; n < ARGC; n++) card(ARGV[n])
    print "</main>\n</html>"
    exit
}

function card(marker,   dir, title, images, i, path, frame) {
    read_json(marker)
    dir = marker; sub(/[^\/]*$/, "", dir)
    title = html(V["item.keyEncoding"] == "percent" ? "(" V["item.key"] ")" : V["item.key"])
    images = V["outputs.length"]
    printf "<section>\n<h2>%s</h2>\n", title
    printf "<p>%s, %d&times;%d, %s, %s, %s</p>\n<div>\n", html(V["result.codec"]), V["result.width"], V["result.height"],
        sprintf(V["result.duration"] < 1 ? "%.2f s" : "%.1f s", V["result.duration"]), counted(V["result.frames"], "frame"), counted(images, "image")
    for (i = 0; i < images; i++) {
        path = html(url(dir) V["outputs." i ".path"])
        frame = "frame " i * V["result.every"]
        printf "<figure><a href=\"%s\"><img src=\"%s\" alt=\"%s of %s\" loading=\"lazy\"></a><figcaption>%s</figcaption></figure>\n",
            path, path, frame, title, frame
    }
    print "</div>\n</section>"
}

function counted(n, what) {
    return n + 0 " " what (n == 1 ? "" : "s")
}

function html(text) {
    gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
    gsub(/"/, "\\&quot;", text); gsub(/'/, "\\&#39;", text)
    return text
}

function url(path,   i, c, out) {
    for (i = 1; i <= length(path); i++) {
        c = substr(path, i, 1)
        out = out (c ~ /[-A-Za-z0-9._~\/]/ ? c : sprintf("%%%02X", ord[c]))
    }
    return out
}

function page_head() {
    print "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">"
    print "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Thumbnails</title>\n<style>"
    print "  :root { color-scheme: light dark; }"
    print "  body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; font: 16px/1.4 system-ui, sans-serif; }"
    print "  h1 { margin: 0; } h2 { margin: 2.5rem 0 0; font-size: 1.15rem; overflow-wrap: anywhere; }"
    print "  p { margin: .2rem 0 .8rem; opacity: .7; }"
    print "  section > div { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); }"
    print "  figure { margin: 0; } img { display: block; width: 100%; border-radius: .4rem; background: #8884; }"
    print "  figcaption { font-size: .8rem; opacity: .7; padding: .2rem 0; }"
    print "</style>\n<main>\n<h1>Thumbnails</h1>"
    printf "<p>One frame of every hundred, from %s. Made from the markers alone.</p>\n", counted(ARGC - 1, "video")
}
