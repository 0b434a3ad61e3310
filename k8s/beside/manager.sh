#!/bin/sh
# The book's sample manager in a few lines of shell: lists items, gets each, has it worked on, remembers what is done. Nothing
# here is Longshore's; a manager in any language that can GET will do.
source=${SOURCE:-http://localhost:8080/items}
mkdir -p "$DONE"
while :; do
    # A source that is away answers 503, or not at all: nothing is concluded from that but to ask again.
    if list=$(wget -q -O - "$source"); then
        for name in $(echo "$list" | sed 's/.*"items":\[//; s/\].*//' | tr -d '"' | tr ',' ' '); do
            [ ! -e "$DONE/$name" ] || continue
            # Here the sample creates a Job; `work` stands for it.
            wget -q -O "/tmp/$name" "$source/$name" && mv "/tmp/$name" "$DONE/$name" && echo "worked on $name"
        done
    else
        echo 'the source does not answer; asking again'
    fi
    sleep "${EVERY:-5}" & wait $!
done
