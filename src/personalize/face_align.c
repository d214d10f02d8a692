/* personalize/face_align.c - see face_align.h. */
#include "personalize/face_align.h"

#include <math.h>
#include <string.h>

/* Left eye, right eye, nose, left and right corner of the mouth in a picture of 112 x 112 (rectifid.md 3.1). */
static const double arcface[LK_FACE_POINTS][2] = {
    {38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041}};
enum { TEMPLATE_SIDE = 112, MOST_FINE = 16 };

bool lk_similarity_fit(const double (*from)[2], const double (*to)[2], int count, lk_similarity *m) {
    double centre[4] = {0};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 2; k++) {
            centre[k] += from[i][k] / count;
            centre[2 + k] += to[i][k] / count;
        }
    double dot = 0, cross = 0, square = 0;
    for (int i = 0; i < count; i++) {
        double x = from[i][0] - centre[0], y = from[i][1] - centre[1];
        double u = to[i][0] - centre[2], v = to[i][1] - centre[3];
        dot += x * u + y * v;
        cross += x * v - y * u;
        square += x * x + y * y;
    }
    if (!(square > 0) || !isfinite(square)) return false;
    m->a = dot / square;
    m->b = cross / square;
    m->tx = centre[2] - m->a * centre[0] + m->b * centre[1];
    m->ty = centre[3] - m->b * centre[0] - m->a * centre[1];
    return m->a * m->a + m->b * m->b > 0 && isfinite(m->tx + m->ty);
}

void lk_face_template(int side, double points[LK_FACE_POINTS][2]) {
    double scale = (double)side / TEMPLATE_SIDE;
    for (int i = 0; i < LK_FACE_POINTS; i++)
        for (int k = 0; k < 2; k++)
            points[i][k] = side == TEMPLATE_SIDE ? arcface[i][k] : (arcface[i][k] + 0.5) * scale - 0.5;
}

bool lk_face_theta(const lk_face *face, int side, double theta[6]) {
    double wanted[LK_FACE_POINTS][2];
    lk_similarity m;
    lk_face_template(side, wanted);
    if (!face->has_points || !lk_similarity_fit(face->points, wanted, LK_FACE_POINTS, &m)) return false;
    double square = m.a * m.a + m.b * m.b, a = m.a / square, b = m.b / square;
    const double inverse[6] = {a, b, -(a * m.tx + b * m.ty), -b, a, b * m.tx - a * m.ty};
    memcpy(theta, inverse, sizeof inverse);
    for (int i = 0; i < 6; i++)
        if (!isfinite(theta[i])) return false;
    return true;
}

void lk_box_theta(double left, double top, double right, double bottom, int side, double theta[6]) {
    double x = (right - left) / side, y = (bottom - top) / side;
    const double box[6] = {x, 0, left + x / 2 - 0.5, 0, y, top + y / 2 - 0.5};
    memcpy(theta, box, sizeof box);
}

void lk_theta_refine(double theta[6], int fine) {
    /* Sample i of the finer crop lies at (i + 1/2) / fine - 1/2 of the coarse one. */
    double shift = 0.5 / fine - 0.5;
    for (int row = 0; row < 2; row++) {
        double *t = theta + 3 * row;
        t[2] += shift * (t[0] + t[1]);
        t[0] /= fine;
        t[1] /= fine;
    }
}

int lk_theta_fineness(const double theta[6]) {
    double x = hypot(theta[0], theta[3]), y = hypot(theta[1], theta[4]), step = ceil(fmax(x, y) - 1e-9);
    return step > MOST_FINE ? MOST_FINE : step > 1 ? (int)step : 1;
}

/* Bilinear, each of the four neighbours outside the picture counting as black. */
static double sample(const lk_image *image, double x, double y, int channel) {
    double left = floor(x), top = floor(y), value = 0;
    if (!(x > -1 && x < image->width && y > -1 && y < image->height)) return 0;
    for (int tap = 0; tap < 4; tap++) {
        int64_t ix = (int64_t)left + tap % 2, iy = (int64_t)top + tap / 2;
        if (ix < 0 || iy < 0 || ix >= image->width || iy >= image->height) continue;
        double weight = (tap % 2 ? x - left : 1 - (x - left)) * (tap / 2 ? y - top : 1 - (y - top));
        value += weight * image->rgb[((size_t)iy * image->width + (size_t)ix) * 3 + (size_t)channel];
    }
    return value / 255;
}

void lk_crop_picture(const lk_image *image, const double theta[6], int side, int fine, float *planes) {
    double t[6];
    memcpy(t, theta, sizeof t);
    lk_theta_refine(t, fine);
    for (int c = 0; c < 3; c++)
        for (int oy = 0; oy < side; oy++)
            for (int ox = 0; ox < side; ox++) {
                double sum = 0;
                for (int i = 0; i < fine * fine; i++) {
                    double px = ox * fine + i % fine, py = oy * fine + i / fine;
                    sum += sample(image, t[0] * px + t[1] * py + t[2], t[3] * px + t[4] * py + t[5], c);
                }
                planes[(c * side + oy) * side + ox] = (float)(sum / (fine * fine));
            }
}
