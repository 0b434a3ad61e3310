# Says what a ledger holds (`queue-manager ledger list -o json`), a line for each item, separated by tabs: name, state,
# attempts, the last attempt's nonce, its message.

BEGIN {
    read_json(ARGV[1])
    for (i = 0; i < V["items.length"]; i++) {
        message = V["items." i ".last.message"]
        gsub(/[\t\n]/, " ", message)
        printf "%s\t%s\t%d\t%s\t%s\n", V["items." i ".name"], V["items." i ".state"], V["items." i ".attempts"],
            V["items." i ".last.id"], message
    }
    exit
}
