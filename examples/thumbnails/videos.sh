# Makes the demo's videos; sourced by demo.sh. Every good one is noted in `frames`: its key, and how many frames it has.

declare -A frames=()
declare -a making=()

# video KEY FRAMES SOURCE CODEC…: one video, in the background.
video() {
    local key=$1 count=$2 source=$3
    shift 3
    mkdir -p "$(dirname "$videos/$key")"
    ffmpeg -nostdin -v error -y -f lavfi -i "$source" -frames:v "$count" "$@" "file:$videos/$key" 2>>"$logs/videos.log" &
    making+=($!)
    running[$!]=ffmpeg
    frames[$key]=$count
}

has_encoder() { ffmpeg -hide_banner -encoders 2>/dev/null | grep -w -- "$1" >/dev/null; }

make_videos() {
    local h264=(-c:v libx264 -preset veryfast -bf 3 -pix_fmt yuv420p) pid
    video "Mandelbrot zoom.mp4" 450 "mandelbrot=s=480x270:r=25:maxiter=300:end_scale=0.002:end_pts=400" "${h264[@]}"
    video "test card.mp4" 1001 "testsrc2=s=640x360:r=50" "${h264[@]}"
    video "life.mp4" 600 "life=s=320x180:r=25:ratio=0.1:mold=12:life_color=#4cc9f0:death_color=#7209b7,scale=640:360:flags=neighbor" \
        -c:v mpeg4 -bf 2 -q:v 8
    video "Naïve façade/été & <nuit>.mp4" 330 "gradients=s=640x360:r=30:n=5:speed=0.03:c0=#ffb703:c1=#d00000:c2=#3a0ca3:c3=#06d6a0:c4=#118ab2:seed=5" \
        -c:v mpeg4 -q:v 3
    video "one frame.mp4" 1 "smptehdbars=s=640x360" "${h264[@]}"
    has_encoder libx265 && video "Sierpiński.mp4" 250 "sierpinski=s=640x360:r=25:type=triangle:jump=40" \
        -c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p -tag:v hvc1
    has_encoder libvpx-vp9 && video "rule 110.mp4" 300 "cellauto=s=640x360:r=25:rule=110" \
        -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p
    for pid in "${making[@]}"; do
        reap "$pid" || fail "ffmpeg could not make a video: $(tail -n 1 "$logs/videos.log")"
    done
    # The one that is no use to anybody: a download that broke off, so that its index at the end is missing.
    head -c 200000 "$videos/test card.mp4" >"$videos/broken.mp4"
}

# A camera that goes on recording, into a file that can be seen to grow twice a second, until it is told to stop.
start_camera() {
    ffmpeg -nostdin -v error -y -re -f lavfi -i "testsrc=s=640x360:r=30" -c:v libx264 -preset ultrafast -pix_fmt yuv420p \
        -g 15 -movflags frag_keyframe+empty_moov -flush_packets 1 -progress "$logs/camera.progress" \
        "file:$videos/$camera" 2>>"$logs/videos.log" &
    camera_pid=$!
    running[$camera_pid]=camera
}

# How many frames the camera says it has written.
camera_frames() { sed -n 's/^frame= *//p' "$logs/camera.progress" | tail -n 1; }
