/* base/time.h - a clock that only goes forward. (Named after what it measures: not <time.h>, which is never included
 * by this quoted path because the include root is src.) */
#ifndef LK_BASE_TIME_H
#define LK_BASE_TIME_H

/* Seconds since some fixed moment. */
double lk_time_seconds(void);
void lk_sleep_seconds(double seconds);

#endif
